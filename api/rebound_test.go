package api

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// A page whose host name resolves to an open node on loopback may not change anything there. The node's own
// page, tools, and proxies may. With authentication the page has no credential, so no rule about names is
// needed.
func TestRebound(t *testing.T) {
	open := NewHTTP(newFake(), Options{}).Handler
	guarded := NewHTTP(newFake(), Options{Auth: newAuthority(t, "anonymous: [all]\npolicies: {all: [{keys: [\"\"], verbs: [acquire, read]}]}\n").Authority}).Handler
	loopback, network := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}, &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1)}
	for _, tt := range []struct {
		name         string
		node         http.Handler
		method       string
		host, origin string
		local        net.Addr
		secure       bool
		code         int
	}{
		{"rebound", open, "POST", "evil.example:50051", "http://evil.example:50051", loopback, false, 403},
		{"rebound, IPv6", open, "POST", "evil.example", "http://evil.example", &net.TCPAddr{IP: net.IPv6loopback}, false, 403},
		{"a name that only begins well", open, "POST", "localhost.evil.example", "http://localhost.evil.example", loopback, false, 403},
		{"reading", open, "GET", "evil.example:50051", "http://evil.example:50051", loopback, false, 404},
		{"localhost", open, "POST", "LocalHost:50051", "http://LocalHost:50051", loopback, false, 200},
		{"below localhost", open, "POST", "a.localhost.:50051", "http://a.localhost.:50051", loopback, false, 200},
		{"an address", open, "POST", "127.0.0.1:50051", "http://127.0.0.1:50051", loopback, false, 200},
		{"an address, IPv6", open, "POST", "[::1]:50051", "http://[::1]:50051", loopback, false, 200},
		{"an address without a port", open, "POST", "[::1]", "http://[::1]", loopback, false, 200},
		{"a tool", open, "POST", "alias.example:50051", "", loopback, false, 200},
		{"over a network", open, "POST", "node.example:50051", "http://node.example:50051", network, false, 200},
		{"with TLS", open, "POST", "node.example:50051", "https://node.example:50051", loopback, true, 200},
		{"with an auth file", guarded, "POST", "node.example:50051", "http://node.example:50051", loopback, false, 200},
	} {
		r := httptest.NewRequest(tt.method, "/v1/locks/"+strings.ReplaceAll(tt.name, " ", "-"), strings.NewReader(`{"clientId":"c","wait":"0s"}`))
		if tt.method == "GET" {
			r.Body = http.NoBody
		}
		if r.Host = tt.host; tt.origin != "" {
			r.Header.Set("Origin", tt.origin)
		}
		if tt.secure {
			r.TLS = &tls.ConnectionState{}
		}
		w := httptest.NewRecorder()
		tt.node.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, tt.local)))
		if w.Code != tt.code {
			t.Errorf("%s: %d, want %d: %s", tt.name, w.Code, tt.code, w.Body)
		}
	}
}
