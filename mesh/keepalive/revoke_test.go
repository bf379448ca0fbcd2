package keepalive

import (
	"errors"
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/sessionwire"
	"github.com/sgkandale/sharelock/internal/virtual"
	"github.com/sgkandale/sharelock/mesh/account"
)

// A hold that its client may not have any more is detached, and its client is told why.
func TestRevoke(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		r := newRig(t)
		sink := &endedSink{}
		s := r.Open(t.Context(), sink, "", &account.Account{})
		defer s.Close()
		list := []sessionwire.Keep{{Kind: sessionwire.KeepAlive, ID: 1}}
		for i, key := range []string{"prod/k", "ci/k"} {
			list = append(list, sessionwire.Keep{
				Kind: sessionwire.KeepAttach, ID: uint64(i), Key: key, Token: r.acquire(t, key, time.Minute), TTL: time.Minute,
			})
		}
		s.Keep(list)
		s.Revoke(func(key string) (bool, error) {
			if key == "prod/k" {
				return false, sharelock.ErrPermissionDenied
			}
			return false, nil
		})
		sink.mu.Lock()
		defer sink.mu.Unlock()
		if len(sink.ended) != 1 || !errors.Is(sink.ended[0], sharelock.ErrPermissionDenied) {
			t.Errorf("the client was told %v", sink.ended)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		if len(s.holds) != 1 || s.holds[1] == nil || r.bytes != keptBytes("ci/k") {
			t.Errorf("%d holds of %d bytes are attached", len(s.holds), r.bytes)
		}
	})
}
