package route

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/sessionwire"
	"github.com/sgkandale/sharelock/internal/virtual"
	"github.com/sgkandale/sharelock/mesh/account"
	"github.com/sgkandale/sharelock/owner"
)

// A grant that arrives at the very moment when its session closes is released if the node
// made its request id, since nobody can ask for it again; with an id of the client's it stays
// for the retry.
func TestGrantForAClosedSession(t *testing.T) {
	for _, own := range []bool{false, true} {
		virtual.Test(t, func(t *testing.T) {
			rt := newRig(t, "a")
			r := sharelock.AcquireRequest{Key: "k", ClientID: "c", TTL: time.Minute}
			if own {
				r.RequestID = "r"
			}
			hold, err := rt.Acquire(t.Context(), r)
			if err != nil {
				t.Fatal(err)
			}
			req, err := acquireRequest(rt.limits(), r)
			if err != nil {
				t.Fatal(err)
			}
			s := rt.Open(quietSink{}, "").(*session)
			q := &request{req: req, session: s, id: 1, state: sent}
			q.begin(rt.Router, rt.cfg.Clock())
			q.sends = append(q.sends, rt.cfg.Clock())
			s.Close() // the answer is on its way to the request, so that nobody gives it up
			q.Answer(0, owner.Answer{Outcome: owner.Done, Send: 1, Holds: []sharelock.Hold{hold}})
			time.Sleep(time.Second)
			if _, err := rt.Get(t.Context(), "k"); errors.Is(err, sharelock.ErrNotHeld) == own {
				t.Errorf("with an id of the client's %t: a second later the key is %v", own, err)
			}
		})
	}
}

// connSink is a session's other end on a connection.
type connSink struct {
	quietSink
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

// The bytes of the calls under way are bounded for the sessions of a connection together.
// Beyond the bound acquires are refused; what ends a lock still has room.
func TestCallBytesOfAConnectionAreBounded(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		n := newRig(t, "a")
		first, second, other := &connSink{port: 1}, &connSink{port: 1}, &connSink{port: 2}
		a, b, c := n.Open(first, "").(*session), n.Open(second, "").(*session), n.Open(other, "").(*session)
		acquire := func(s *session, id uint64, wait time.Duration) {
			s.Start([]sessionwire.Call{{ID: id, Kind: sessionwire.CallAcquire, AcquireRequest: sharelock.AcquireRequest{
				Key: "k", ClientID: "c", RequestID: fmt.Sprint(id), TTL: time.Minute, Wait: wait, Metadata: map[string]string{"about": strings.Repeat("x", 1000)},
			}}})
			synctest.Wait()
		}
		release := func(s *session, id uint64) {
			s.Start([]sessionwire.Call{{ID: id, Kind: sessionwire.CallRelease, AcquireRequest: sharelock.AcquireRequest{Key: "k"}, Token: 1}})
			synctest.Wait()
		}
		if _, err := n.Acquire(t.Context(), sharelock.AcquireRequest{Key: "k", ClientID: "holder", TTL: time.Minute}); err != nil {
			t.Fatal(err)
		}
		acquire(a, 1, 30*time.Second)
		first.wantAnswer(t, 1, nil)
		_, used := a.account.Used()
		if used < requestBase+1000 || b.account != a.account {
			t.Errorf("a call that waits counts %d bytes; one account: %t", used, b.account == a.account)
		}
		full := int64(0)
		fill := func(acquire bool) { // as much as there is room for
			for step := int64(1) << 30; step > 0; step /= 2 {
				if a.account.Begin(step, acquire) {
					full += step
				}
			}
		}
		fill(true)
		acquire(b, 2, 0)
		second.wantAnswer(t, 2, account.ErrBusy)
		acquire(c, 3, 0)
		other.wantAnswer(t, 3, sharelock.ErrLockHeld)
		release(b, 4)
		second.wantAnswer(t, 4, sharelock.ErrStaleToken)
		fill(false)
		release(b, 5)
		second.wantAnswer(t, 5, account.ErrBusy)
		a.account.End(full)
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
		time.Sleep(GiveUpTime)
		_, left := a.account.Used()
		if _, others := c.account.Used(); left != 0 || others != 0 || n.accounts.Len() != 0 {
			t.Errorf("%d bytes of calls and %d accounts are left", left, n.accounts.Len())
		}
	})
}
