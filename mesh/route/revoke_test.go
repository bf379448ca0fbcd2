package route

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/sessionwire"
	"github.com/sgkandale/sharelock/internal/virtual"
)

// errDenied is why a test's caller may have nothing.
var errDenied = &sharelock.Error{Err: sharelock.ErrPermissionDenied, Message: "no more"}

// An acquire in line whose caller may not have the key any more is answered at once with the reason,
// and is not granted when its turn comes; other keys are left alone.
func TestRevokeWaiter(t *testing.T) {
	for _, requestID := range []string{"", "r"} {
		virtual.Test(t, func(t *testing.T) {
			n := newRig(t, "a")
			var holds []sharelock.Hold
			for _, key := range []string{"prod/k", "ci/k"} {
				h, err := n.Acquire(t.Context(), sharelock.AcquireRequest{Key: key, ClientID: "holder", TTL: time.Minute})
				if err != nil {
					t.Fatal(err)
				}
				holds = append(holds, h)
			}
			to := &connSink{port: 1}
			s := n.Open(to, "").(*session)
			for i, h := range holds {
				s.Start([]sessionwire.Call{{ID: uint64(i), Kind: sessionwire.CallAcquire, AcquireRequest: sharelock.AcquireRequest{
					Key: h.Key, ClientID: "c", RequestID: requestID, TTL: time.Minute, Wait: 50 * time.Second,
				}}})
			}
			synctest.Wait()
			s.Revoke(func(key string) (bool, error) {
				if key == "prod/k" {
					return false, errDenied
				}
				return false, nil
			})
			synctest.Wait()
			to.wantAnswer(t, 0, sharelock.ErrPermissionDenied)
			to.wantAnswer(t, 1, nil)
			for _, h := range holds {
				if _, err := n.Release(t.Context(), h.Key, h.Token, true); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(time.Second)
			if st, err := n.Get(t.Context(), "prod/k"); err == nil && len(st.Holds) > 0 {
				t.Errorf("request id %q: the key is held by %+v", requestID, st.Holds)
			}
			if st, err := n.Get(t.Context(), "ci/k"); err != nil || len(st.Holds) != 1 || st.Holds[0].ClientID != "c" {
				t.Errorf("request id %q: the other key: %+v, %v", requestID, st.Holds, err)
			}
			s.Close()
		})
	}
}

// A grant that comes in the moment of the revocation is released, unless the client made the request
// id: it may regain the grant by it, with a newer credential, and would lose it again to the release.
func TestRevokeInTheMomentOfTheGrant(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		n := newRig(t, "a")
		h, err := n.Acquire(t.Context(), sharelock.AcquireRequest{Key: "k", ClientID: "c", RequestID: "r", TTL: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		q := &request{session: n.Open(quietSink{}, "").(*session)}
		q.req.OwnID = true
		if _, err := q.refused(errDenied, h, nil); !errors.Is(err, sharelock.ErrPermissionDenied) {
			t.Errorf("the answer is %v", err)
		}
		time.Sleep(time.Second)
		if st, err := n.Get(t.Context(), "k"); err != nil || len(st.Holds) != 1 {
			t.Errorf("the grant of a client's own request id: %+v, %v", st.Holds, err)
		}
		q.req.OwnID = false
		if _, err := q.refused(errDenied, h, nil); !errors.Is(err, sharelock.ErrPermissionDenied) {
			t.Errorf("the answer is %v", err)
		}
		time.Sleep(time.Second)
		if _, err := n.Get(t.Context(), "k"); !errors.Is(err, sharelock.ErrNotHeld) {
			t.Errorf("the key is %v", err)
		}
		if _, err := q.refused(errDenied, sharelock.Hold{}, sharelock.ErrLockHeld); !errors.Is(err, sharelock.ErrLockHeld) {
			t.Errorf("the owner's refusal became %v", err)
		}
	})
}
