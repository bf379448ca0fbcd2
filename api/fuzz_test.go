package api

import (
	"encoding/json"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/sgkandale/sharelock"
)

// Every input is answered in one of the promised forms, and never with an internal error.
func FuzzHTTPBody(f *testing.F) {
	for _, body := range []string{
		"", "{}", "null", acquireBody, `{"token":"1","ttl":"1s"}`, `{"key":"k","timeoutMs":1}`, `{"clientId":"\ud800"}`,
		`{"metadata":{"a":"b"},"slots":2,"wait":"0s","clientId":"c"}`, `{"mode":1e0,"ttl":"1.5s","clientId":"c"}`, "{\"a\":\xff}",
	} {
		for m := range fuzzMethods {
			f.Add(uint8(m), "v1/locks/k?token=1", body)
			f.Add(uint8(m), "lock", body)
		}
	}
	for _, path := range []string{"unlock", "v1/mesh/leave", "v1/locks?pageSize=1", "v1/locks/a%2Fb/token/1", "v1/mesh/locate/%00", "ping"} {
		f.Add(uint8(0), path, "{}")
		f.Add(uint8(3), path, "")
	}
	f.Fuzz(func(t *testing.T, method uint8, path, body string) {
		u, err := url.ParseRequestURI("/" + path)
		if err != nil {
			t.Skip("net/http refuses it before we see it")
		}
		h := NewHTTP(newFake(), Options{}).Handler
		r := httptest.NewRequestWithContext(t.Context(), fuzzMethods[int(method)%len(fuzzMethods)], "/", strings.NewReader(body))
		r.URL = u
		r.Header.Set(clientIDHeader, "c")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code >= 500 {
			t.Errorf("%s %q %q: %d %s", r.Method, path, body, w.Code, w.Body)
		}
		legacy := u.Path == "/lock" || u.Path == "/unlock"
		if w.Code >= 400 && !(legacy && strings.HasPrefix(w.Body.String(), `{"status":`)) {
			errorOf(t, w)
		} else if !json.Valid(w.Body.Bytes()) || !strings.HasPrefix(w.Body.String(), "{") {
			t.Errorf("%s %q %q: %d %q", r.Method, path, body, w.Code, w.Body)
		}
	})
}

var fuzzMethods = [...]string{"POST", "PATCH", "DELETE", "GET"}

// A key that a client has escaped is the key that the node sees. A path that nobody has escaped is read
// as URL.Path, and never as something else.
func FuzzKeyPath(f *testing.F) {
	for _, key := range []string{
		"", "k", "a/b", "a%2Fb", "a/token/5", "..", ".", "/", "//", "?", "#", "a b", "a+b", "ü", "\n", "%", `"`, "\x00", "\xff",
		"a%2Ftoken%2F5\"", ";", "a/token/5/token/6", "&=", "[x]",
	} {
		f.Add(key)
	}
	f.Fuzz(func(t *testing.T, key string) {
		node := newFake()
		h := NewHTTP(node, Options{}).Handler
		valid := sharelock.CheckKey(key) == nil
		for _, c := range [][3]string{
			{"POST", "", `{"clientId":"c"}`},
			{"PATCH", "", `{"token":"1"}`},
			{"DELETE", "?token=1", ""},
			{"GET", "", ""},
			{"GET", "/token/1", ""},
		} {
			node.key = ""
			w := exchange(t, h, c[0], "/v1/locks/"+url.PathEscape(key)+c[1], c[2])
			checkKeySeen(t, c[0]+c[1], w, node.key, key, valid)
		}
		u, err := url.ParseRequestURI("/v1/locks/" + key)
		if err != nil || u.RawQuery != "" || u.ForceQuery {
			return
		}
		want := strings.TrimPrefix(u.Path, "/v1/locks/")
		r := httptest.NewRequestWithContext(t.Context(), "POST", "/", strings.NewReader(`{"clientId":"c","wait":"0s"}`))
		r.URL = u
		node.key = ""
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		checkKeySeen(t, "raw", w, node.key, want, sharelock.CheckKey(want) == nil)
	})
}

func checkKeySeen(t *testing.T, what string, w *httptest.ResponseRecorder, got, want string, valid bool) {
	t.Helper()
	switch {
	case !valid:
		if w.Code != 400 || errorOf(t, w).Reason != "INVALID_ARGUMENT" {
			t.Errorf("%s of the bad key %q: %d %s", what, want, w.Code, w.Body)
		}
	case got != want:
		t.Errorf("%s: the node saw %q, want %q; %d %s", what, got, want, w.Code, w.Body)
	}
}
