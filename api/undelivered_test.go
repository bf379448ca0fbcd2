package api

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/auth"
	"github.com/sgkandale/sharelock/internal/frame"
	"github.com/sgkandale/sharelock/internal/sessionwire"
	"github.com/sgkandale/sharelock/internal/virtual"
	original "github.com/sgkandale/sharelock/proto/sharelock"
	pb "github.com/sgkandale/sharelock/proto/sharelock/v1"
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

// A grant whose answer cannot be sent, because the client has closed its connection or does not read, is
// released. With a client-made request id it stays for the retry.
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
				c := serveHTTP(t, NewHTTP(node, Options{}).Server)()
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

// A client that closes its connection right after the answer keeps the lock.
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

// A unary call whose context ends while it is granted releases its grant, unless the client can ask for it
// again.
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

// pipedSession is a session with a server, over a stream whose writes block until they are read.
func pipedSession(t *testing.T, node Node) *talk {
	t.Helper()
	g := NewGRPC(node, Options{})
	l := &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
	var served sync.WaitGroup
	served.Go(func() {
		if err := g.Serve(l); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		g.Stop()
		served.Wait()
	})
	conn := l.dial()
	t.Cleanup(func() { _ = conn.Close() }) // closing twice is harmless
	if _, err := conn.Write(sessionwire.AppendHello(nil)); err != nil {
		t.Fatal(err)
	}
	if err := sessionwire.ReadWelcome(conn); err != nil {
		t.Fatal(err)
	}
	return &talk{t: t, talker: &plainTalk{frame.New(conn, sessionwire.MaxSessionFrame, time.Hour), conn}}
}

// When a session ends, the grants whose answers are still queued are released. Those that were sent stay,
// and so do those with a client-made request id.
func TestSessionUndelivered(t *testing.T) {
	for _, ends := range []string{"closes", "does not read"} {
		virtual.Test(t, func(t *testing.T) {
			node := newFake()
			k := pipedSession(t, node)
			call := func(id uint64, key, request string) *pb.SessionCall {
				c := acquireCall(id, key, 0)
				c.GetAcquire().RequestId = request
				return c
			}
			k.send(call(1, "sent", ""))
			if _, err := k.answer(); err != nil {
				t.Fatal(err)
			}
			k.send(call(2, "being sent", ""), call(3, "with an id, being sent", "r"))
			synctest.Wait() // nobody reads the answers
			// More than one message after it.
			for i := range uint64(4000) {
				k.send(call(10+i, fmt.Sprint("queued ", i), ""))
			}
			k.send(call(4, "with an id, queued", "r"))
			synctest.Wait()
			if !isHeld(t, node, "being sent") || !isHeld(t, node, "queued 3999") {
				t.Fatal("not granted")
			}
			if ends == "closes" {
				if err := k.CloseSend(); err != nil {
					t.Fatal(err)
				}
			} else {
				time.Sleep(2 * framePatience)
			}
			synctest.Wait()
			for _, key := range []string{"sent", "with an id, being sent", "with an id, queued"} {
				if !isHeld(t, node, key) {
					t.Errorf("the client %s: %q is not held", ends, key)
				}
			}
			left := 0
			for i := range 4000 {
				if isHeld(t, node, fmt.Sprint("queued ", i)) {
					left++
				}
			}
			if left > 0 || isHeld(t, node, "being sent") {
				t.Errorf("the client %s: %d queued grants are left, held while it was sent: %t", ends, left, isHeld(t, node, "being sent"))
			}
		})
	}
}

// A grant that is answered after the end of the session is released.
func TestSessionAnswerTooLate(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		node := newFake()
		s := (&locks{node: node}).open(nil, nil, auth.Credentials{}, make(chan error, 1))
		s.unsent.Begin([]sessionwire.Call{{ID: 1, Kind: sessionwire.CallAcquire}, {ID: 2, Kind: sessionwire.CallAcquire, AcquireRequest: sharelock.AcquireRequest{RequestID: "r"}}})
		s.close(node)
		for id, key := range []string{1: "k", 2: "own"} {
			if key == "" {
				continue
			}
			h, err := node.Acquire(t.Context(), sharelock.AcquireRequest{Key: key, ClientID: "c", TTL: time.Second})
			if err != nil {
				t.Fatal(err)
			}
			s.Answer(uint64(id), h, nil)
		}
		synctest.Wait()
		if isHeld(t, node, "k") || !isHeld(t, node, "own") {
			t.Errorf("without an id held %t, with one %t", isHeld(t, node, "k"), isHeld(t, node, "own"))
		}
	})
}
