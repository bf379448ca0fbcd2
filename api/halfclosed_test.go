package api

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
)

// endsWithContext is a node whose calls fail once their contexts have ended.
type endsWithContext struct{ *fakeNode }

func (n endsWithContext) Renew(ctx context.Context, key string, token sharelock.Token, ttl time.Duration, metadata map[string]string) (sharelock.Hold, error) {
	if err := ctx.Err(); err != nil {
		return sharelock.Hold{}, err
	}
	return n.fakeNode.Renew(ctx, key, token, ttl, metadata)
}

func (n endsWithContext) Get(ctx context.Context, key string) (sharelock.Lock, error) {
	if err := ctx.Err(); err != nil {
		return sharelock.Lock{}, err
	}
	return n.fakeNode.Get(ctx, key)
}

func (n endsWithContext) Release(ctx context.Context, key string, token sharelock.Token, once bool) (sharelock.Hold, error) {
	if err := ctx.Err(); err != nil {
		return sharelock.Hold{}, err
	}
	return n.fakeNode.Release(ctx, key, token, once)
}

// A request that does not wait in line is served though its caller has closed its half of
// the connection, which looks to net/http as if it had gone.
func TestHalfClosedIsServed(t *testing.T) {
	node := endsWithContext{newFake()}
	h, err := node.Acquire(t.Context(), sharelock.AcquireRequest{Key: "k", ClientID: "c", TTL: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	handler := NewHTTP(node, Options{}).Handler
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for _, tt := range []struct{ method, path, body string }{
		{http.MethodPatch, "/v1/locks/k", `{"token":"` + h.Token.String() + `"}`},
		{http.MethodGet, "/v1/locks/k", ""},
		{http.MethodDelete, "/v1/locks/k?token=" + h.Token.String(), ""},
	} {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequestWithContext(gone, tt.method, tt.path, strings.NewReader(tt.body)))
		if w.Code != http.StatusOK {
			t.Errorf("%s %s: %d %s", tt.method, tt.path, w.Code, w.Body)
		}
	}
}
