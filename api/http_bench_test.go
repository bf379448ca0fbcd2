package api

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/sgkandale/sharelock"
)

// BenchmarkHTTP acquires and releases a lock, at a node that does almost nothing and without net/http's
// server, so the cost is that of the adapter.
func BenchmarkHTTP(b *testing.B) {
	node := newFake()
	h := NewHTTP(node, Options{}).Handler
	serve := func(method, target, body string) {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequestWithContext(b.Context(), method, target, strings.NewReader(body)))
		if w.Code != http.StatusOK {
			b.Fatal(w.Code, w.Body)
		}
	}
	b.ReportAllocs()
	for grant := uint32(1); b.Loop(); grant++ {
		serve(http.MethodPost, "/v1/locks/orders%2F42", `{"clientId":"bench","ttl":"30s","wait":"10s"}`)
		serve(http.MethodDelete, fmt.Sprintf("/v1/locks/orders%%2F42?token=%d", sharelock.MakeToken(59712345, grant)), "")
	}
}
