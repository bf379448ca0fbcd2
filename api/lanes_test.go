package api

import (
	"slices"
	"testing"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/sessionwire"
)

// All holds of a large session end while nothing can be sent. No message becomes larger than clients
// accept.
func TestNewsIsSplitIntoMessages(t *testing.T) {
	const n = 100_000
	s := &session{wake: make(chan struct{}, 1)}
	for i := range uint64(n) {
		s.Ended(i+1, sharelock.ErrStaleToken)
	}
	sent := 0
	for {
		data, quiet := s.nextMessage()
		if data == nil {
			if !quiet || s.fullBytes != 0 {
				t.Errorf("after all was sent: quiet %t, %d bytes are counted", quiet, s.fullBytes)
			}
			break
		}
		if sent += len(data); len(data) > fullMessage+4096 {
			t.Fatalf("a message has %d bytes", len(data))
		}
	}
	if sent < sharelock.MaxMessageBytes {
		t.Errorf("%d bytes were sent, fewer than one message may have", sent)
	}
}

// recorder is a Session that records what is started.
type recorder struct {
	Session
	started []uint64
}

func (r *recorder) Start(calls []sessionwire.Call) {
	for i := range calls {
		r.started = append(r.started, calls[i].ID)
	}
}

// A session that has reached its limit of calls in flight still accepts releases and renewals; only
// acquires are refused.
func TestReleasesHaveRoom(t *testing.T) {
	calls := &recorder{}
	s := &session{wake: make(chan struct{}, 1), calls: calls, pending: maxPending - 1}
	s.start([]sessionwire.Call{
		{ID: 1, Kind: sessionwire.CallAcquire},
		{ID: 2, Kind: sessionwire.CallAcquire},
		{ID: 3, Kind: sessionwire.CallRelease},
		{ID: 4, Kind: sessionwire.CallRenew},
		{ID: 5, Kind: sessionwire.CallGiveUp},
	})
	if want := []uint64{1, 3, 4, 5}; !slices.Equal(calls.started, want) || s.pending != maxPending+3 {
		t.Errorf("started %v with %d under way, want %v", calls.started, s.pending, want)
	}
	s.pending, calls.started = maxPendingAll, nil
	if s.start([]sessionwire.Call{{ID: 6, Kind: sessionwire.CallRelease}}); len(calls.started) != 0 || s.pending != maxPendingAll {
		t.Errorf("started %v with %d under way", calls.started, s.pending)
	}
}
