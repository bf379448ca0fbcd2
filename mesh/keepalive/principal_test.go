package keepalive

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/release"
	"github.com/sgkandale/sharelock/internal/sessionwire"
	"github.com/sgkandale/sharelock/internal/virtual"
	"github.com/sgkandale/sharelock/mesh/account"
	"github.com/sgkandale/sharelock/mesh/epoch/epochtest"
	"github.com/sgkandale/sharelock/owner"
)

// A session renews the holds of its principal. It does not keep one of another principal, and says
// why, unless its caller may have any.
func TestKeepsHoldsOfItsPrincipal(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		r := newRig(t)
		first, second := epochtest.View(1, "a"), epochtest.View(2, "a")
		second.Release = release.Principals
		if err := r.views.Offer(epochtest.State(first, second)); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		const ttl = 10 * time.Second
		v := r.views.Now()
		acquire := func(key, principal string) sharelock.Token {
			c := make(answers, 1)
			v.Service.Submit(v.Partition(key), owner.Ref{Caller: c}, &owner.Request{
				Kind: owner.Acquire, Key: key, ClientID: "c", RequestID: key, TTL: ttl, Send: 1, Principal: principal,
			})
			return (<-c).Holds[0].Token
		}
		sink := &endedSink{}
		s := r.Open(t.Context(), sink, "ci", &account.Account{})
		defer s.Close()
		var list []sessionwire.Keep
		for id, principal := range []string{"ci", "apps/x", "apps/x", ""} {
			key := string('k' + rune(id))
			list = append(list, sessionwire.Keep{
				Kind: sessionwire.KeepAttach, ID: uint64(id), Key: key, Token: acquire(key, principal), TTL: ttl, AnyHold: id == 2,
			})
		}
		s.Keep(list)
		var alive uint64
		twoTTLs := func() {
			for range 10 {
				alive++
				s.Keep([]sessionwire.Keep{{Kind: sessionwire.KeepAlive, ID: alive}})
				time.Sleep(ttl / 5)
			}
			synctest.Wait()
		}
		twoTTLs()
		sink.mu.Lock()
		defer sink.mu.Unlock()
		if len(sink.ended) != 1 || !errors.Is(sink.ended[1], sharelock.ErrPermissionDenied) {
			t.Errorf("the client was told %v, want that hold 1 is another principal's", sink.ended)
		}
		if n := v.Service.Stats().Locks; n != 3 {
			t.Errorf("%d keys are held after two TTLs, want 3", n)
		}
		sink.mu.Unlock()
		defer sink.mu.Lock()

		// Its caller may not have any hold any more: it keeps those of its principal, and of nobody.
		s.Revoke(func(string) (bool, error) { return true, nil })
		twoTTLs()
		if n := v.Service.Stats().Locks; n != 3 {
			t.Errorf("%d keys are held although nothing was revoked, want 3", n)
		}
		s.Revoke(func(string) (bool, error) { return false, nil })
		twoTTLs()
		if n := v.Service.Stats().Locks; n != 2 {
			t.Errorf("%d keys are held after force was revoked, want 2", n)
		}
		sink.mu.Lock()
		if len(sink.ended) != 2 || !errors.Is(sink.ended[2], sharelock.ErrPermissionDenied) {
			t.Errorf("the client was told %v, want that hold 2 is another principal's", sink.ended)
		}
		sink.mu.Unlock()
	})
}
