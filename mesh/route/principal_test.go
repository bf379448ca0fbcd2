package route

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/caller"
	"github.com/sgkandale/sharelock/internal/release"
	"github.com/sgkandale/sharelock/internal/sessionwire"
	"github.com/sgkandale/sharelock/internal/virtual"
	"github.com/sgkandale/sharelock/mesh/epoch/epochtest"
)

// principals puts the rig into a view that has principals.
func (r *rig) principals(t *testing.T) {
	t.Helper()
	first, second := epochtest.View(1, "a"), epochtest.View(2, "a")
	second.Release = release.Principals
	r.show(t, first, second)
	synctest.Wait() // until the partitions are active
}

// as returns the context of a call of a principal.
func as(t *testing.T, principal string, anyHold bool) context.Context {
	return caller.With(t.Context(), caller.Caller{Principal: principal, AnyHold: anyHold})
}

// A hold belongs to the principal of the call that acquired it, whatever client id a call names.
func TestCallsOfPrincipals(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		rt := newRig(t, "a")
		rt.principals(t)
		ci, apps, ops := as(t, "ci", false), as(t, "apps/x", false), as(t, "ops", true)
		h, err := rt.Acquire(ci, sharelock.AcquireRequest{Key: "k", ClientID: "c", RequestID: "r", TTL: time.Minute})
		if err != nil || h.Principal != "ci" {
			t.Fatalf("the hold belongs to %q: %v", h.Principal, err)
		}
		_, renewing := rt.Renew(apps, "k", h.Token, 0, nil)
		_, releasing := rt.Release(apps, "k", h.Token, false)
		for _, err := range []error{renewing, releasing} {
			if !errors.Is(err, sharelock.ErrPermissionDenied) || !strings.Contains(err.Error(), `"ci"`) || !strings.Contains(err.Error(), `"k"`) {
				t.Errorf("another principal: %v", err)
			}
		}
		if _, err := rt.ReleaseClient(apps, "k", "c"); !errors.Is(err, sharelock.ErrNotHeld) {
			t.Errorf("another principal by client id: %v", err)
		}
		if err := rt.GiveUp(apps, "k", "c", "r"); err != nil { // its own id, which was never seen
			t.Errorf("another principal gives its id up: %v", err)
		}
		if _, err := rt.Acquire(apps, sharelock.AcquireRequest{Key: "k", ClientID: "c", RequestID: "r", TTL: time.Minute}); !errors.Is(err, sharelock.ErrRequestOver) {
			t.Errorf("the same id of another principal: %v", err)
		}
		l, err := rt.Get(apps, "k")
		if err != nil || len(l.Holds) != 1 || l.Holds[0].Principal != "ci" {
			t.Errorf("the key is %+v: %v", l, err)
		}
		if _, err := rt.Renew(ops, "k", h.Token, 0, nil); err != nil {
			t.Errorf("one that may have any hold: %v", err)
		}
		if _, err := rt.ReleaseClient(ci, "k", "c"); err != nil {
			t.Errorf("its principal by client id: %v", err)
		}
	})
}

// What a node does by itself for a caller that is gone, it does for the caller's principal.
func TestTakeBackOfAPrincipal(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		rt := newRig(t, "a")
		rt.principals(t)
		h, err := rt.Acquire(as(t, "ci", false), sharelock.AcquireRequest{Key: "k", ClientID: "c", TTL: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		<-rt.TakeBack(h)
		if _, err := rt.Get(t.Context(), "k"); !errors.Is(err, sharelock.ErrNotHeld) {
			t.Errorf("the key is %v", err)
		}
	})
}

// The calls of a session are its principal's; what is sent says whether it may have any hold. News
// of a hold that was taken by force reach the sessions of its principal alone.
func TestSessionsOfPrincipals(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		rt := newRig(t, "a")
		rt.principals(t)
		h, err := rt.Acquire(as(t, "ci", false), sharelock.AcquireRequest{Key: "k", ClientID: "c", TTL: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		to := &connSink{port: 1}
		s := rt.Open(to, "apps/x").(*session)
		defer s.Close()
		renew := sessionwire.Call{ID: 1, Kind: sessionwire.CallRenew, AcquireRequest: sharelock.AcquireRequest{Key: "k"}, Token: h.Token}
		anyHold := renew
		anyHold.ID, anyHold.AnyHold = 2, true
		s.Start([]sessionwire.Call{renew})
		s.Start([]sessionwire.Call{anyHold})
		synctest.Wait()
		to.wantAnswer(t, 1, sharelock.ErrPermissionDenied)
		if err, answered := to.answers.Load(uint64(2)); !answered || err != error(nil) {
			t.Errorf("with any hold: %v", err)
		}
		s.noteClient("c")
		if s.speaksFor("c", "ci") || !s.speaksFor("c", "apps/x") || !s.speaksFor("c", "") {
			t.Error("a session hears news of the holds of another principal, or not of its own")
		}
	})
}
