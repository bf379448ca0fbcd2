package mesh

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/virtual"
	sharelockv1 "github.com/sgkandale/sharelock/proto/sharelock/v1"
)

// connSink is a session's other end on a connection.
type connSink struct {
	endedSink
	port    int
	answers sync.Map // error by id
}

func (s *connSink) RemoteAddr() net.Addr {
	return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: s.port}
}

func (s *connSink) Answer(id uint64, _ sharelock.Hold, err error) { s.answers.Store(id, err) }

// wantAnswer checks the answer to a call; nil is none yet.
func (s *connSink) wantAnswer(t *testing.T, id uint64, want error) {
	t.Helper()
	got, answered := s.answers.Load(id)
	if err, _ := got.(error); answered != (want != nil) || want != nil && !errors.Is(err, want) {
		t.Errorf("call %d: %v, want %v", id, got, want)
	}
}

// The bytes of what is attached are bounded for the sessions of a connection together.
func TestKeptBytesOfAConnectionAreBounded(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		n := loneNode(t)
		first, second, other := &connSink{port: 1}, &connSink{port: 1}, &connSink{port: 2}
		attach := func(s *session, id uint64) {
			s.Keep([]sharelockv1.Keep{{Kind: sharelockv1.KeepAttach, ID: id, Key: "k", Token: 1, TTL: time.Minute}})
		}
		a, b, c := n.Open(first).(*session), n.Open(second).(*session), n.Open(other).(*session)
		defer c.Close()
		attach(a, 1)
		n.renewals.mu.Lock()
		rest := maxKeptConn - a.account.kept - keptBytes("k")
		a.account.kept += rest
		n.renewals.mu.Unlock()
		attach(b, 2) // the last that fits
		attach(b, 3)
		attach(c, 4)
		if len(first.ended) != 0 || len(second.ended) != 1 || !errors.Is(second.ended[3], errConnKeeps) || len(other.ended) != 0 {
			t.Errorf("beyond the connection's bytes: %v, %v, of another connection %v", first.ended, second.ended, other.ended)
		}
		a.Close() // what it has kept is free again
		attach(b, 5)
		if len(second.ended) != 1 {
			t.Errorf("with room again: %v", second.ended)
		}
		b.Close()
		b.Close() // a second time is fine
		if b.account.kept != rest || len(n.accounts.all) != 1 {
			t.Errorf("%d bytes are left when the sessions have closed, want %d; %d accounts", b.account.kept, rest, len(n.accounts.all))
		}
	})
}

// The bytes of the calls under way are bounded for the sessions of a connection together.
// Beyond the bound acquires are refused; what ends a lock still has room.
func TestCallBytesOfAConnectionAreBounded(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		n := loneNode(t)
		first, second, other := &connSink{port: 1}, &connSink{port: 1}, &connSink{port: 2}
		a, b, c := n.Open(first).(*session), n.Open(second).(*session), n.Open(other).(*session)
		acquire := func(s *session, id uint64, wait time.Duration) {
			s.Start([]sharelockv1.Call{{ID: id, Kind: sharelockv1.CallAcquire, Acquire: sharelock.AcquireRequest{
				Key: "k", ClientID: "c", RequestID: fmt.Sprint(id), TTL: time.Minute, Wait: wait, Metadata: map[string]string{"about": longest(1000)},
			}}})
			synctest.Wait()
		}
		release := func(s *session, id uint64) {
			s.Start([]sharelockv1.Call{{ID: id, Kind: sharelockv1.CallRelease, Acquire: sharelock.AcquireRequest{Key: "k"}, Token: 1}})
			synctest.Wait()
		}
		if _, err := n.Acquire(t.Context(), sharelock.AcquireRequest{Key: "k", ClientID: "holder", TTL: time.Minute}); err != nil {
			t.Fatal(err)
		}
		acquire(a, 1, 30*time.Second)
		first.wantAnswer(t, 1, nil)
		used := a.account.calls.Load()
		if used < callBase+1000 || b.account != a.account {
			t.Errorf("a call that waits counts %d bytes; one account: %t", used, b.account == a.account)
		}
		full := maxCallsConn - used
		a.account.calls.Add(full)
		acquire(b, 2, 0)
		second.wantAnswer(t, 2, errConnBusy)
		acquire(c, 3, 0)
		other.wantAnswer(t, 3, sharelock.ErrLockHeld)
		release(b, 4)
		second.wantAnswer(t, 4, sharelock.ErrStaleToken)
		a.account.calls.Add(maxCallsConn)
		release(b, 5)
		second.wantAnswer(t, 5, errConnBusy)
		a.account.calls.Add(-maxCallsConn - full)
		acquire(b, 6, 0)
		second.wantAnswer(t, 6, sharelock.ErrLockHeld)
		acquire(a, 1, 30*time.Second) // the id is that of a call under way
		acquire(b, 7, 30*time.Second)
		b.Cancel(7)
		synctest.Wait()
		a.Close()
		b.Close()
		acquire(b, 8, 0) // on a session that has closed
		c.Close()
		time.Sleep(giveUpTime)
		if left := a.account.calls.Load(); left != 0 || c.account.calls.Load() != 0 || len(n.accounts.all) != 0 {
			t.Errorf("%d bytes of calls and %d accounts are left", left, len(n.accounts.all))
		}
	})
}
