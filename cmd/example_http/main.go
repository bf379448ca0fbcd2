// Command example_http acquires and releases a lock over the original HTTP API, which every node
// still serves. New programs use /v1/locks.
package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"
)

// The statuses of the original API that this program handles.
const (
	acquired = 1
	released = 3
)

func main() {
	addr := flag.String("addr", "127.0.0.1:50051", "HTTP address of any node, host:port or a URL")
	key := flag.String("key", "example", "key to lock")
	client := flag.String("client", "example_http", "client id")
	flag.Parse()
	if err := run(os.Stdout, *addr, *key, *client); err != nil {
		fmt.Fprintln(os.Stderr, "example_http:", err)
		os.Exit(1)
	}
}

type request struct {
	Key       string `json:"key,omitempty"`
	TimeoutMs int32  `json:"timeoutMs,omitempty"`
}

type response struct {
	Message string `json:"message"`
	Status  int    `json:"status"`
}

func run(out io.Writer, addr, key, client string) error {
	addr = base(addr)
	pong, err := post(addr+"/ping", client, request{})
	if err != nil {
		return fmt.Errorf("ping: %w", err)
	}
	fmt.Fprintln(out, "ping:  ", pong.Message)

	locked, err := post(addr+"/lock", client, request{Key: key, TimeoutMs: 10_000})
	if err != nil {
		return fmt.Errorf("lock: %w", err)
	}
	if locked.Status != acquired {
		return fmt.Errorf("lock: not acquired: status %d", locked.Status)
	}
	fmt.Fprintln(out, "lock:   acquired")

	unlocked, err := post(addr+"/unlock", client, request{Key: key})
	if err != nil {
		return fmt.Errorf("unlock: %w", err)
	}
	if unlocked.Status != released {
		return fmt.Errorf("unlock: not released: status %d", unlocked.Status)
	}
	fmt.Fprintln(out, "unlock: released")
	return nil
}

// base returns the URL of an address, which may already be a URL.
func base(addr string) string {
	if !strings.Contains(addr, "://") {
		addr = "http://" + addr
	}
	return strings.TrimSuffix(addr, "/")
}

// post sends one request and returns the JSON answer, regardless of the HTTP status.
func post(url, client string, req request) (response, error) {
	body, err := json.Marshal(req)
	if err != nil {
		return response{}, err
	}
	r, err := http.NewRequest(http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return response{}, err
	}
	r.Header.Set("Content-Type", "application/json")
	// The API identifies the holder of a lock by this name only.
	r.Header.Set("X-Client-Id", client)
	caller := http.Client{Timeout: 30 * time.Second}
	answer, err := caller.Do(r)
	if err != nil {
		return response{}, err
	}
	defer answer.Body.Close()
	var resp response
	if err := json.NewDecoder(answer.Body).Decode(&resp); err != nil {
		return response{}, fmt.Errorf("%s: %w", answer.Status, err)
	}
	return resp, nil
}
