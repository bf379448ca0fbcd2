package client

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cespare/xxhash/v2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/client/internal/session"
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
				if _, ok := c.nodes[0].session.Reserve(); !ok {
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
		time.AfterFunc(session.Dead-time.Millisecond, func() { m.set(func() { m.mute = false }) })
		other := mustAcquire(t, c, "k")
		if took := time.Since(began); took < session.Dead-session.Quiet || took > session.Dead+session.Quiet {
			t.Errorf("a silent node was given up after %v, want about %v", took, session.Dead)
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

// Q3: an acquire that was held back counts from when it was sent, however long that took.
func TestHeldBackCountsFromItsSend(t *testing.T) {
	bubbleOf(t, true, func(t *testing.T, m *fakeMesh, c *Client) {
		mustAcquire(t, c, "k")
		for _, n := range c.nodes {
			n.session.MaxCalls = 1
		}
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
