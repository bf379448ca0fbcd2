//go:build linux

package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sgkandale/sharelock/cmd/sharelock/internal/exit"
	"github.com/sgkandale/sharelock/cmd/sharelock/internal/host"
	"github.com/sgkandale/sharelock/mesh"
)

// collector is an OTLP collector over HTTP.
type collector struct {
	mu   sync.Mutex
	body []byte
}

func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b, err := io.ReadAll(r.Body)
	if r.URL.Path != "/v1/traces" || err != nil {
		http.NotFound(w, r)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.body = append(c.body, b...)
}

// A node sends its spans to a collector, the last of them when it ends. Without a reachable collector it
// serves as well, and ends as soon.
func TestServeTraces(t *testing.T) {
	var c collector
	web := httptest.NewServer(&c)
	defer web.Close()
	gone := httptest.NewServer(nil)
	gone.Close()
	for name, endpoint := range map[string]string{"collector": web.URL, "none": gone.URL} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
			t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment=test")
			a := newApp()
			a.environ = []string{"OTEL_EXPORTER_OTLP_ENDPOINT=" + os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT"), "SHARELOCK_TRACING__KEYS=true"}
			up := make(chan struct{})
			var running *mesh.Node
			a.newNode = func(cfg mesh.Config) (host.Node, error) {
				n, err := mesh.New(cfg)
				running = n
				return upNode{n, up}, err
			}
			base := freePorts(t)
			at := func(i int) string { return fmt.Sprintf("127.0.0.1:%d", base+i) }
			code := a.background("serve", "--found", "--node-name", "n1", "--data-dir", "", "--http-listen", at(0), "--grpc-listen", at(1), "--peer-listen", at(2), "--gossip-listen", at(3))
			<-up
			if err := running.WaitReady(t.Context()); err != nil {
				t.Fatal(err)
			}
			resp, err := http.Post("http://"+at(0)+"/v1/locks/demo", "application/json", strings.NewReader(`{"clientId":"w"}`)) //nolint:noctx // a node in this process
			if err != nil {
				t.Fatal(err)
			}
			if err := resp.Body.Close(); err != nil || resp.StatusCode != http.StatusOK {
				t.Error(resp.Status, err)
			}
			http.DefaultClient.CloseIdleConnections()
			a.signals <- syscall.SIGTERM
			select {
			case got := <-code:
				if got != exit.OK {
					t.Errorf("it ends with %d: %s", got, a.err)
				}
			case <-time.After(time.Minute):
				t.Fatal("it does not end")
			}
		})
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, want := range []string{"own acquire", "demo", "service.instance.id", "n1", "deployment", "sharelock.partition"} {
		if !bytes.Contains(c.body, []byte(want)) {
			t.Errorf("the collector got no %q", want)
		}
	}
}
