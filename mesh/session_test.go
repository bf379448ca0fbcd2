package mesh

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/clock"
	"github.com/sgkandale/sharelock/internal/memnet"
	"github.com/sgkandale/sharelock/internal/rules"
	"github.com/sgkandale/sharelock/internal/virtual"
	"github.com/sgkandale/sharelock/owner"
	sharelockv1 "github.com/sgkandale/sharelock/proto/sharelock/v1"
)

// loneNode is a mesh of one in memory, inside a bubble.
func loneNode(t *testing.T) *Node {
	t.Helper()
	cfg := DefaultConfig()
	cfg.Name, cfg.DataDir, cfg.Found, cfg.Network, cfg.Clock = "a", "", true, memnet.New(1).Host("a"), clock.Monotonic()
	n, err := New(cfg)
	if err == nil {
		err = n.Start()
	}
	if err == nil {
		err = n.WaitReady(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		n.Kill()
		time.Sleep(stragglers)
	})
	return n
}

// quietSink hears nothing.
type quietSink struct{}

func (quietSink) Answer(uint64, sharelock.Hold, error)   {}
func (quietSink) Renewed(uint64, []uint64)               {}
func (quietSink) Ended(uint64, error)                    {}
func (quietSink) Forced(string, sharelock.Token, string) {}
func (quietSink) Queued(uint64, uint32)                  {}
func (quietSink) Released()                              {}

// A grant that arrives at the very moment when its session closes is released if the node
// made its request id, since nobody can ask for it again; with an id of the client's it stays
// for the retry.
func TestGrantForAClosedSession(t *testing.T) {
	for _, own := range []bool{false, true} {
		virtual.Test(t, func(t *testing.T) {
			n := loneNode(t)
			r := sharelock.AcquireRequest{Key: "k", ClientID: "c", TTL: time.Minute}
			if own {
				r.RequestID = "r"
			}
			hold, err := n.Acquire(t.Context(), r)
			if err != nil {
				t.Fatal(err)
			}
			req, err := acquireRequest(n.limits(), r)
			if err != nil {
				t.Fatal(err)
			}
			s := n.Open(quietSink{}).(*session)
			call := &started{session: s, id: 1}
			call.call.begin(n, n.clock(), req)
			call.acquire = acquire{call: &call.call}
			call.call.sends = append(call.call.sends, n.clock())
			s.Close() // the answer is on its way to the call, so that nobody gives it up
			call.first(owner.Answer{Outcome: owner.Done, Send: 1, Holds: []sharelock.Hold{hold}})
			time.Sleep(time.Second)
			if _, err := n.Get(t.Context(), "k"); errors.Is(err, sharelock.ErrNotHeld) == own {
				t.Errorf("with an id of the client's %t: a second later the key is %v", own, err)
			}
		})
	}
}

// endedSink counts the holds that have ended.
type endedSink struct {
	quietSink
	mu    sync.Mutex
	ended map[uint64]error // guarded by mu
}

func (s *endedSink) Ended(id uint64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended == nil {
		s.ended = map[uint64]error{}
	}
	s.ended[id] = err
}

// What is attached is dropped when no keepalive has come for a TTL, stretched: neither its
// memory nor work for it is left, whether anybody holds it or not.
func TestHoldsOfASilentClient(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		n := loneNode(t)
		sink := &endedSink{}
		s := n.Open(sink).(*session)
		defer s.Close()
		const ttl, holds = 10 * time.Second, 500
		list := []sharelockv1.Keep{{Kind: sharelockv1.KeepAlive, ID: 1}}
		for i := range holds {
			key := fmt.Sprint("k", i)
			h, err := n.Acquire(t.Context(), sharelock.AcquireRequest{Key: key, ClientID: "c", TTL: ttl})
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, sharelockv1.Keep{Kind: sharelockv1.KeepAttach, ID: uint64(i), Key: key, Token: h.Token, TTL: ttl})
		}
		s.Keep(list)
		left := func() (holds, bytes int) {
			n.renewals.mu.Lock()
			defer n.renewals.mu.Unlock()
			return len(s.keeping.holds), n.renewals.bytes
		}
		for alive := range uint64(10) {
			time.Sleep(ttl / 3)
			s.Keep([]sharelockv1.Keep{{Kind: sharelockv1.KeepAlive, ID: alive + 2}})
		}
		time.Sleep(rules.Stretch(ttl) - time.Millisecond)
		if got, bytes := left(); got != holds || bytes == 0 {
			t.Errorf("%d holds of %d bytes are attached while keepalives come", got, bytes)
		}
		time.Sleep(ttl / 10)
		if got, bytes := left(); got != 0 || bytes != 0 {
			t.Errorf("%d holds of %d bytes are attached though no keepalive came", got, bytes)
		}
		sink.mu.Lock()
		if len(sink.ended) != holds || !errors.Is(sink.ended[7], sharelock.ErrStaleToken) {
			t.Errorf("the client hears of %d ends: %v", len(sink.ended), sink.ended[7])
		}
		sink.mu.Unlock()
		// Without any keepalive.
		s.Keep([]sharelockv1.Keep{{Kind: sharelockv1.KeepAttach, ID: 9999, Key: "nobody's", Token: 1, TTL: ttl}})
		time.Sleep(2 * ttl)
		if got, _ := left(); got != 0 {
			t.Errorf("%d holds are attached that never had a keepalive", got)
		}
	})
}

// The bytes of what is attached are bounded for a session and for a node.
func TestKeptBytesAreBounded(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		n := loneNode(t)
		sink := &endedSink{}
		s := n.Open(sink).(*session)
		defer s.Close()
		attach := func(from, to uint64) {
			list := make([]sharelockv1.Keep, 0, to-from)
			for i := from; i < to; i++ {
				list = append(list, sharelockv1.Keep{Kind: sharelockv1.KeepAttach, ID: i, Key: longest(sharelock.MaxKeyBytes), Token: 1, TTL: time.Minute})
			}
			s.Keep(list)
		}
		fits := uint64(maxKeptSession / keptBytes(longest(sharelock.MaxKeyBytes)))
		attach(0, fits)
		if len(sink.ended) != 0 {
			t.Errorf("%d holds are refused", len(sink.ended))
		}
		attach(fits, fits+3)
		if len(sink.ended) != 3 || !errors.Is(sink.ended[fits], sharelock.ErrQuota) {
			t.Errorf("beyond its bytes the session is told %v", sink.ended)
		}
		s.Keep([]sharelockv1.Keep{{Kind: sharelockv1.KeepDetach, ID: 0}})
		n.renewals.mu.Lock()
		others := maxKeptNode - n.renewals.bytes
		n.renewals.bytes += others
		n.renewals.mu.Unlock()
		attach(fits+3, fits+4)
		if !errors.Is(sink.ended[fits+3], errNodeKeeps) {
			t.Errorf("beyond the node's bytes the session is told %v", sink.ended[fits+3])
		}
		n.renewals.mu.Lock()
		n.renewals.bytes -= others
		n.renewals.mu.Unlock()
		s.Close()
		if n.renewals.bytes != 0 {
			t.Errorf("%d bytes are left when the session has closed", n.renewals.bytes)
		}
	})
}
