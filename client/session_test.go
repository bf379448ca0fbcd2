package client

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cespare/xxhash/v2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/sessionwire"
	"github.com/sgkandale/sharelock/internal/virtual"
	sharelockv1 "github.com/sgkandale/sharelock/proto/sharelock/v1"
)

// Many calls share one stream, and each gets its own answer.
func TestSessionManyCalls(t *testing.T) {
	bubbleOf(t, true, func(t *testing.T, m *fakeMesh, c *Client) {
		var work sync.WaitGroup
		for i := range 200 {
			work.Go(func() {
				key := fmt.Sprint("k", i)
				l, err := c.Acquire(t.Context(), key)
				if err != nil {
					t.Error(err)
					return
				}
				if token, _ := m.holder(key); uint64(l.Token()) != token {
					t.Errorf("%s: token %v, held with %d", key, l.Token(), token)
				}
				if err := l.Release(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		work.Wait()
	})
}

// Whatever ends a stream, its calls are made again, by another node if that is why.
func TestSessionBreaks(t *testing.T) {
	for _, code := range []codes.Code{codes.Unavailable, codes.Canceled, codes.InvalidArgument, codes.Internal} {
		t.Run(code.String(), func(t *testing.T) {
			bubbleOf(t, true, func(t *testing.T, m *fakeMesh, c *Client) {
				m.set(func() { m.broken = status.Error(code, "broken on purpose") })
				l := mustAcquire(t, c, "k")
				if err := l.Release(t.Context()); err != nil {
					t.Error(err)
				}
				if n := c.nodes[0].session; n.unary() {
					t.Error("the node was taken for one without sessions")
				}
			})
		})
	}
}

// A node that hears and says nothing is given up long before its connection is, and
// a held lock is renewed elsewhere.
func TestSessionSilence(t *testing.T) {
	bubbleOf(t, true, func(t *testing.T, m *fakeMesh, c *Client) {
		l := mustAcquire(t, c, "held")
		m.set(func() { m.mute = true })
		began := time.Now()
		time.AfterFunc(dead-time.Millisecond, func() { m.set(func() { m.mute = false }) })
		other := mustAcquire(t, c, "k")
		if took := time.Since(began); took < dead-quiet || took > dead+quiet {
			t.Errorf("a silent node was given up after %v, want about %v", took, dead)
		}
		if calls := m.seen("Acquire"); calls[len(calls)-1].Node == "a:1" {
			t.Error("the silent node was asked again")
		}
		time.Sleep(time.Minute)
		if l.Err() != nil || other.Err() != nil {
			t.Errorf("locks: %v, %v", l.Err(), other.Err())
		}
	})
}

// An idle session, and a call that waits long at a node that is there, are left
// alone.
func TestSessionPatience(t *testing.T) {
	bubbleOf(t, true, func(t *testing.T, m *fakeMesh, c *Client) {
		l := mustAcquire(t, c, "k")
		time.Sleep(5 * time.Minute)
		got := make(chan error, 1)
		go func() {
			_, err := c.Acquire(t.Context(), "k", Wait(time.Minute))
			got <- err
		}()
		time.Sleep(30 * time.Second)
		if err := l.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := <-got; err != nil {
			t.Error(err)
		}
		if n := len(m.seen("Acquire")); n != 2 {
			t.Errorf("%d acquires were sent, want 2", n)
		}
	})
}

// farewell is a stream on which a node says why it ends the session.
type farewell struct{ why error }

func (farewell) Send([]byte) error { return nil }
func (farewell) Close() error      { return nil }
func (f farewell) Recv() ([]byte, error) {
	b, err := proto.Marshal(status.Convert(f.why).Proto())
	return sessionwire.AppendClosing(nil, b), err
}

// A node that ends a session says why: to calls under way, if trying again is of no use, and to
// whoever asks why the stream has ended. What is held goes on elsewhere.
func TestSessionEndedByNode(t *testing.T) {
	for _, tt := range []struct {
		why  error
		code codes.Code
	}{
		{status.Error(codes.PermissionDenied, "revoked on purpose"), codes.PermissionDenied},
		{status.Error(codes.ResourceExhausted, "full on purpose"), codes.Unavailable},
		{status.Error(codes.Unavailable, "gone on purpose"), codes.Unavailable},
	} {
		bubbleOf(t, true, func(t *testing.T, _ *fakeMesh, c *Client) {
			l := mustAcquire(t, c, "k")
			st := c.nodes[0].session.cur.Load()
			st.read(farewell{tt.why})
			st.mu.Lock()
			err := st.err
			st.mu.Unlock()
			if want := status.Convert(tt.why).Message(); status.Code(err) != tt.code || !strings.Contains(err.Error(), want) {
				t.Errorf("the stream ended with %v, want %v", err, tt.why)
			}
			time.Sleep(time.Minute)
			if l.Err() != nil {
				t.Errorf("the lock: %v", l.Err())
			}
		})
	}
}

// A call that its caller gives up is cancelled at the node.
func TestSessionCancelled(t *testing.T) {
	bubbleOf(t, true, func(t *testing.T, m *fakeMesh, c *Client) {
		l := mustAcquire(t, c, "k")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := c.Acquire(ctx, "k", Wait(time.Minute))
		wantErr(t, "acquire", err, context.DeadlineExceeded)
		synctest.Wait()
		if _, queue := m.holder("k"); queue != 0 {
			t.Errorf("%d are left in the queue", queue)
		}
		if err := l.Release(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// keyOf is a key that the node at a position owns in testRing.
func keyOf(at uint64) string {
	for i := 0; ; i++ {
		if key := fmt.Sprint("key", i); xxhash.Sum64String(key)%3 == at {
			return key
		}
	}
}

func testRing(epoch uint32, addrs ...string) *sharelockv1.GetRingResponse {
	r := &sharelockv1.GetRingResponse{Epoch: epoch, Partitions: 3, Owners: []uint32{0, 1, 2}}
	for _, a := range addrs {
		r.Members = append(r.Members, &sharelockv1.RingMember{Name: a, Grpc: a})
	}
	return r
}

// nodeOf is the node that the last acquire came to.
func nodeOf(m *fakeMesh) string {
	calls := m.seen("Acquire")
	return calls[len(calls)-1].Node
}

// Once the client has learned who owns what, calls go to the owner; to another node
// while the owner cannot serve.
func TestOwners(t *testing.T) {
	bubbleOf(t, true, func(t *testing.T, m *fakeMesh, c *Client) {
		m.set(func() { m.ring = testRing(1, "b:1", "c:1", "a:1") })
		mustAcquire(t, c, "first")
		synctest.Wait() // it has learned in the background
		for at, want := range []string{"b:1", "c:1", "a:1"} {
			mustAcquire(t, c, keyOf(uint64(at)))
			if got := nodeOf(m); got != want {
				t.Errorf("a key of %s came to %s", want, got)
			}
		}
		m.setFault(func(call fakeCall) fault {
			if call.Node == "c:1" {
				return fault{before: unavailable()}
			}
			return fault{}
		})
		mustAcquire(t, c, keyOf(1)+"/x", Wait(0)) // wherever that is
		key := keyOf(1)
		l, err := c.TryAcquire(t.Context(), key+"")
		if err == nil {
			t.Fatalf("%q was granted twice: %v", key, l)
		}
		if got := nodeOf(m); got == "c:1" {
			t.Error("the owner that cannot serve was the last to be asked")
		}
		m.setFault(nil)
		time.Sleep(2 * shunTime)
		_, err = c.TryAcquire(t.Context(), key)
		if err == nil || nodeOf(m) != "c:1" {
			t.Errorf("after the owner came back: %v, asked %s", err, nodeOf(m))
		}
	})
}

// A member whose address leads nowhere does not stop its keys from being served.
func TestOwnersUnreachable(t *testing.T) {
	bubbleOf(t, true, func(t *testing.T, m *fakeMesh, c *Client) {
		m.set(func() { m.ring = testRing(1, "x:1", "y:1", "z:1") })
		mustAcquire(t, c, "first")
		synctest.Wait()
		for at := range uint64(3) {
			mustAcquire(t, c, keyOf(at))
		}
	})
}

func TestOnlyAddrs(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		m, opts := startMesh(t, "a:1", "b:1", "c:1")
		m.set(func() { m.sessions, m.ring = true, testRing(1, "b:1", "c:1", "b:1") })
		start := time.Now()
		c, err := Dial(clocked(t.Context(), func() time.Duration { return time.Since(start) }), []string{"a:1"}, Options{
			ClientID: "tester", OnlyAddrs: true, DialOptions: opts,
		})
		if err != nil {
			t.Fatal(err)
		}
		for at := range uint64(3) {
			mustAcquire(t, c, keyOf(at))
			synctest.Wait()
			if got := nodeOf(m); got != "a:1" {
				t.Errorf("a call came to %s", got)
			}
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
}

// Acquires beyond what a node takes of a session wait here for room, in their order, and end
// with their contexts and waits; what does not wait, or ends a lock, finds room.
func TestManyCallsUnderWay(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		f := &wireFake{}
		c, err := dialWire(t, f, Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close() //nolint:errcheck // nothing is left
		pair(t, c)
		st := c.nodes[0].session.cur.Load()
		f.late.Store(true)
		const mostCalls, beyond = 500, 100
		c.mostCalls = mostCalls
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var (
			work    sync.WaitGroup
			stopped atomic.Int64
		)
		acquire := func(ctx context.Context) {
			work.Go(func() {
				switch _, err := c.Acquire(ctx, "k", Wait(time.Hour), NoRenew()); {
				case errors.Is(err, context.Canceled):
					stopped.Add(1)
				case err != nil && !errors.Is(err, ErrClosed):
					t.Error(err)
				}
			})
		}
		first, end := context.WithCancel(t.Context())
		defer end()
		for range mostCalls {
			acquire(first)
		}
		synctest.Wait()
		for range beyond {
			acquire(t.Context())
		}
		synctest.Wait()
		for range 2 * beyond {
			acquire(ctx)
		}
		synctest.Wait()
		if st.room.sent != mostCalls || len(st.room.heldWaits) != 3*beyond {
			t.Fatalf("%d are sent and %d held back, want %d and %d", st.room.sent, len(st.room.heldWaits), mostCalls, 3*beyond)
		}
		began := time.Now()
		_, err = c.Acquire(t.Context(), "k", Wait(time.Second))
		if took := time.Since(began); !errors.Is(err, sharelock.ErrQuota) || took != time.Second {
			t.Errorf("one whose wait ends: %v after %v", err, took)
		}
		cancel()
		synctest.Wait()
		if n := stopped.Load(); n != 2*beyond || len(st.room.heldWaits) > 2*beyond {
			t.Errorf("%d have ended with their context, and %d are held back", n, len(st.room.heldWaits))
		}
		work.Go(func() {
			if _, err := c.TryAcquire(t.Context(), "other", NoRenew()); err == nil {
				t.Error("granted by a node that is silent")
			}
		})
		synctest.Wait()
		if st.room.tries != 1 {
			t.Errorf("%d tries are under way, want 1", st.room.tries)
		}
		// What was under way ends, and what is held back takes its place, once the node has
		// answered what gives up the others.
		f.late.Store(false)
		end()
		synctest.Wait()
		if held := len(st.room.heldWaits); held != 0 {
			t.Errorf("%d are held back still", held)
		}
		_ = c.Close()
		work.Wait()
	})
}

// Q3: an acquire that was held back counts from when it was sent, however long that took.
func TestHeldBackCountsFromItsSend(t *testing.T) {
	bubbleOf(t, true, func(t *testing.T, m *fakeMesh, c *Client) {
		mustAcquire(t, c, "k")
		c.mostCalls = 1
		const held, ttl = 10 * time.Second, time.Second
		first := make(chan error, 1)
		go func() {
			_, err := c.Acquire(t.Context(), "k", Wait(held))
			first <- err
		}()
		synctest.Wait()
		began := time.Now()
		l := mustAcquire(t, c, "free", Wait(time.Minute), TTL(ttl), NoRenew())
		if took := time.Since(began); took < held {
			t.Fatalf("granted after %v, without being held back", took)
		}
		if n := len(m.seen("Acquire")); n != 3 {
			t.Errorf("%d acquires were sent, want 3", n)
		}
		if left := l.Remaining(); left <= ttl/2 || left > ttl {
			t.Errorf("it can be trusted for %v, want about %v", left, ttl)
		}
		wantErr(t, "first", <-first, sharelock.ErrLockHeld)
	})
}
