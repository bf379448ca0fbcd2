package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestRun(t *testing.T) {
	held := false
	mux := http.NewServeMux()
	mux.HandleFunc("/ping", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"message":"pong"}`) })
	mux.HandleFunc("/lock", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if got, want := string(body), `{"key":"k","timeoutMs":10000}`; got != want {
			t.Errorf("got body %s, want %s", got, want)
		}
		if got := r.Header.Get("X-Client-Id"); got != "me" {
			t.Errorf("got client %q", got)
		}
		if held {
			w.WriteHeader(http.StatusRequestTimeout)
			fmt.Fprint(w, `{"status":4}`)
			return
		}
		fmt.Fprint(w, `{"status":1}`)
	})
	mux.HandleFunc("/unlock", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"status":3}`) })
	s := httptest.NewServer(mux)
	defer s.Close()

	var out strings.Builder
	for _, addr := range []string{s.URL, s.URL + "/", strings.TrimPrefix(s.URL, "http://")} {
		out.Reset()
		if err := run(&out, addr, "k", "me"); err != nil {
			t.Fatalf("%s: %v", addr, err)
		}
		if got, want := out.String(), "ping:   pong\nlock:   acquired\nunlock: released\n"; got != want {
			t.Errorf("%s: got %q, want %q", addr, got, want)
		}
	}
	held = true
	if err := run(&out, s.URL, "k", "me"); err == nil || !strings.Contains(err.Error(), "status 4") {
		t.Errorf("got %v, want the status", err)
	}
	if err := run(&out, "http://127.0.0.1:1", "k", "me"); err == nil {
		t.Error("nobody there is no error")
	}
}
