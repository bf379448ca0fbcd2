package route

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/metrics"
	"github.com/sgkandale/sharelock/internal/sessionwire"
	"github.com/sgkandale/sharelock/internal/virtual"
)

// The calls of a session are counted, whether they were answered at once, waited, were refused, or
// were in flight when it closed.
func TestSessionCallsAreCounted(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		r := newRig(t, "a")
		calls := metrics.NewCalls()
		r.counters = newCallCounters(calls)
		s := r.Open(quietSink{}, "").(*session)
		id := uint64(0)
		start := func(kind sessionwire.CallKind, client string, wait time.Duration, token sharelock.Token) {
			id++
			s.Start([]sessionwire.Call{{ID: id, Kind: kind, Token: token, AcquireRequest: sharelock.AcquireRequest{
				Key: "k", ClientID: client, RequestID: client, TTL: time.Minute, Wait: wait,
			}}})
			synctest.Wait()
		}
		time.Sleep(time.Second) // a clock says 0 at no other time
		start(sessionwire.CallAcquire, "holder", 0, 0)
		start(sessionwire.CallAcquire, "refused", 0, 0)
		start(sessionwire.CallAcquire, "waits", 3*time.Second, 0)
		start(sessionwire.CallRenew, "", 0, 1)
		start(sessionwire.CallRelease, "", 0, 0)
		start(sessionwire.CallGiveUp, "other", 0, 0)
		time.Sleep(3 * time.Second)
		synctest.Wait()
		start(sessionwire.CallAcquire, "closes", time.Minute, 0)
		if n := r.Sessions(); n != 1 {
			t.Errorf("%d sessions are open", n)
		}
		want := func(want ...string) {
			t.Helper()
			var got []string
			calls.Each(func(door, method string, codes map[string]uint64, took *metrics.Histogram) {
				got = append(got, fmt.Sprintf("%s %s %v %.0f s", door, method, codes, took.Sum()))
			})
			if !slices.Equal(got, want) {
				t.Errorf("counted %q, want %q", got, want)
			}
		}
		rest := []string{"session give_up map[OK:1] 0 s", "session release map[INVALID_ARGUMENT:1] 0 s", "session renew map[STALE_TOKEN:1] 0 s"}
		want(append([]string{"session acquire map[LOCK_HELD:2 OK:1] 3 s"}, rest...)...)
		s.Close()
		synctest.Wait()
		if n := r.Sessions(); n != 0 {
			t.Errorf("%d sessions are open", n)
		}
		want(append([]string{"session acquire map[CANCELLED:1 LOCK_HELD:2 OK:1] 3 s"}, rest...)...)
	})
}
