package api

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sgkandale/sharelock"
	original "github.com/sgkandale/sharelock/proto/sharelock"
	pb "github.com/sgkandale/sharelock/proto/sharelock/v1"
	"github.com/sgkandale/sharelock/testcluster/virtual"
	"google.golang.org/grpc/metadata"
)

func isHeld(t *testing.T, node *fakeNode, key string) bool {
	t.Helper()
	_, err := node.Get(t.Context(), key)
	if err != nil && !errors.Is(err, sharelock.ErrNotHeld) {
		t.Fatal(err)
	}
	return err == nil
}

// A grant whose answer cannot be sent, because the client has closed its connection or takes
// nothing, is released; with a request id of the client's it stays for the retry.
func TestHTTPUndelivered(t *testing.T) {
	for _, tt := range []struct {
		path, body string
		stays      bool
	}{
		{"/v1/locks/k", `{}`, false},
		{"/v1/locks/k", `{"requestId":"r"}`, true},
		{"/lock", `{"key":"k"}`, false},
	} {
		for _, closes := range []bool{true, false} {
			virtual.Test(t, func(t *testing.T) {
				node := newFake()
				c := serveHTTP(t, NewHTTP(node, Options{}))()
				send(t, c, post(tt.path, tt.body))
				synctest.Wait() // the answer is being written, and nobody reads
				if !isHeld(t, node, "k") {
					t.Fatalf("%s %s: not granted", tt.path, tt.body)
				}
				if closes {
					if err := c.Close(); err != nil {
						t.Fatal(err)
					}
				} else {
					time.Sleep(2 * writeTimeout)
				}
				synctest.Wait()
				if got := isHeld(t, node, "k"); got != tt.stays {
					t.Errorf("%s %s, closes %t: held %t, want %t", tt.path, tt.body, closes, got, tt.stays)
				}
			})
		}
	}
}

// leaver is a client that closes its connection as soon as it has the answer.
type leaver struct {
	*httptest.ResponseRecorder
	leave func()
}

func (l *leaver) Flush() {
	l.ResponseRecorder.Flush()
	l.leave()
}

// A client that closes its connection at once keeps the lock that it was told it has.
func TestHTTPDeliveredStays(t *testing.T) {
	for path, body := range map[string]string{"/v1/locks/k": `{}`, "/lock": `{"key":"k"}`} {
		node := newFake()
		ctx, cancel := context.WithCancel(t.Context())
		r := httptest.NewRequestWithContext(ctx, http.MethodPost, path, strings.NewReader(body))
		r.Header.Set(clientIDHeader, "c")
		w := &leaver{httptest.NewRecorder(), cancel}
		NewHTTP(node, Options{}).Handler.ServeHTTP(w, r)
		if w.Code != http.StatusOK || ctx.Err() == nil || !isHeld(t, node, "k") {
			t.Errorf("%s: status %d, left %t, held %t", path, w.Code, ctx.Err() != nil, isHeld(t, node, "k"))
		}
	}
}

// A unary call whose context ends while it is granted takes its grant back, unless the client
// can ask for it again.
func TestUnaryUndelivered(t *testing.T) {
	for _, own := range []string{"", "r"} {
		node := newFake()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		s := &locks{node: node}
		_, err := s.Acquire(ctx, &pb.AcquireRequest{Key: "k", ClientId: "c", RequestId: own})
		if stays := own != ""; isHeld(t, node, "k") != stays || errors.Is(err, context.Canceled) == stays {
			t.Errorf("with request id %q: held %t, %v", own, isHeld(t, node, "k"), err)
		}
	}
	node := newFake()
	ctx, cancel := context.WithCancel(metadata.NewIncomingContext(t.Context(), metadata.Pairs(clientIDHeader, "c")))
	cancel()
	s := &legacy{node: node}
	if _, err := s.Lock(ctx, &original.LockRequest{Key: "k"}); isHeld(t, node, "k") || !errors.Is(err, context.Canceled) {
		t.Errorf("the original's lock: held %t, %v", isHeld(t, node, "k"), err)
	}
}
