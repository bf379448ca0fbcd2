package keepalive

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/rules"
	"github.com/sgkandale/sharelock/internal/sessionwire"
	"github.com/sgkandale/sharelock/internal/virtual"
	"github.com/sgkandale/sharelock/mesh/account"
	"github.com/sgkandale/sharelock/mesh/epoch"
	"github.com/sgkandale/sharelock/mesh/epoch/epochtest"
	"github.com/sgkandale/sharelock/owner"
	"github.com/sgkandale/sharelock/ring"
)

// rig is the member a, alone in its view, with a keeper and nothing else of a node.
type rig struct {
	*Keeper
	views *epoch.Views
}

func newRig(t *testing.T) *rig {
	t.Helper()
	began := time.Now()
	clock := func() time.Duration { return time.Since(began) }
	views, stop := epochtest.New("a", clock)
	if err := views.Offer(epochtest.State(epochtest.View(1, "a"))); err != nil {
		t.Fatal(err)
	}
	views.Now().Service.SetLease(time.Hour)
	ctx, cancel := context.WithCancel(context.Background())
	var tasks sync.WaitGroup
	r := &rig{views: views, Keeper: New(Config{
		Self: epochtest.Member("a").Identity, Views: views, Clock: clock, Ready: func() error { return nil },
		Limits: func() sharelock.Limits { return sharelock.Limits{MaxTTL: time.Minute} },
		Spawn:  func(fn func()) bool { tasks.Go(fn); return true }, Log: slog.New(slog.DiscardHandler),
	})}
	tasks.Go(func() { r.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		tasks.Wait()
		stop()
	})
	synctest.Wait() // until the partitions are active
	return r
}

// answers is a caller that waits for one answer.
type answers chan owner.Answer

func (c answers) Answer(_ uint64, a owner.Answer) { c <- a }
func (answers) Alive() bool                       { return true }

// acquire takes a key at its owner, and returns the token.
func (r *rig) acquire(t *testing.T, key string, ttl time.Duration) sharelock.Token {
	t.Helper()
	v, c := r.views.Now(), make(answers, 1)
	v.Service.Submit(v.Partition(key), owner.Ref{Caller: c}, &owner.Request{
		Kind: owner.Acquire, Key: key, ClientID: "c", RequestID: key, TTL: ttl, Send: 1,
	})
	a := <-c
	if a.Outcome != owner.Done {
		t.Fatalf("%s: %+v", key, a)
	}
	return a.Holds[0].Token
}

// quietSink hears nothing.
type quietSink struct{}

func (quietSink) Renewed(uint64, []uint64)               {}
func (quietSink) Ended(uint64, error)                    {}
func (quietSink) Forced(string, sharelock.Token, string) {}
func (quietSink) Released()                              {}

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
		r := newRig(t)
		sink := &endedSink{}
		s := r.Open(t.Context(), sink, "", &account.Account{})
		defer s.Close()
		const ttl, holds = 10 * time.Second, 500
		list := []sessionwire.Keep{{Kind: sessionwire.KeepAlive, ID: 1}}
		for i := range holds {
			key := fmt.Sprint("k", i)
			list = append(list, sessionwire.Keep{Kind: sessionwire.KeepAttach, ID: uint64(i), Key: key, Token: r.acquire(t, key, ttl), TTL: ttl})
		}
		s.Keep(list)
		left := func() (holds, bytes int) {
			r.mu.Lock()
			defer r.mu.Unlock()
			return len(s.holds), r.bytes
		}
		for alive := range uint64(10) {
			time.Sleep(ttl / 3)
			s.Keep([]sessionwire.Keep{{Kind: sessionwire.KeepAlive, ID: alive + 2}})
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
		s.Keep([]sessionwire.Keep{{Kind: sessionwire.KeepAttach, ID: 9999, Key: "nobody's", Token: 1, TTL: ttl}})
		time.Sleep(2 * ttl)
		if got, _ := left(); got != 0 {
			t.Errorf("%d holds are attached that never had a keepalive", got)
		}
	})
}

// The bytes of what is attached are bounded for a session and for a node.
func TestKeptBytesAreBounded(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		r := newRig(t)
		sink := &endedSink{}
		s := r.Open(t.Context(), sink, "", &account.Account{})
		defer s.Close()
		key := strings.Repeat("k", sharelock.MaxKeyBytes)
		attach := func(from, to uint64) {
			list := make([]sessionwire.Keep, 0, to-from)
			for i := from; i < to; i++ {
				list = append(list, sessionwire.Keep{Kind: sessionwire.KeepAttach, ID: i, Key: key, Token: 1, TTL: time.Minute})
			}
			s.Keep(list)
		}
		fits := uint64(maxKeptSession / keptBytes(key))
		attach(0, fits)
		if len(sink.ended) != 0 {
			t.Errorf("%d holds are refused", len(sink.ended))
		}
		attach(fits, fits+3)
		if len(sink.ended) != 3 || !errors.Is(sink.ended[fits], sharelock.ErrQuota) {
			t.Errorf("beyond its bytes the session is told %v", sink.ended)
		}
		s.Keep([]sessionwire.Keep{{Kind: sessionwire.KeepDetach, ID: 0}})
		r.mu.Lock()
		others := maxKeptNode - r.bytes
		r.bytes += others
		r.mu.Unlock()
		attach(fits+3, fits+4)
		if !errors.Is(sink.ended[fits+3], errNodeKeeps) {
			t.Errorf("beyond the node's bytes the session is told %v", sink.ended[fits+3])
		}
		r.mu.Lock()
		r.bytes -= others
		r.mu.Unlock()
		s.Close()
		if r.bytes != 0 {
			t.Errorf("%d bytes are left when the session has closed", r.bytes)
		}
	})
}

// The bytes of what is attached are bounded for the sessions of a connection together.
func TestKeptBytesOfAConnectionAreBounded(t *testing.T) {
	r := New(Config{Clock: func() time.Duration { return 0 }})
	of := &account.Account{}
	first, second := r.Open(t.Context(), quietSink{}, "", of), r.Open(t.Context(), quietSink{}, "", of)
	v := epochtest.View(1, "a")
	placed, err := ring.Build(v, 8)
	if err != nil {
		t.Fatal(err)
	}
	attach := func(s *Session, id uint64) error {
		_, err := r.attach(0, s, &epoch.View{View: v, Ring: placed}, sharelock.Limits{MaxTTL: time.Minute}, &sessionwire.Keep{Kind: sessionwire.KeepAttach, ID: id, Key: "k", Token: 1, TTL: time.Minute})
		return err
	}
	if err := attach(first, 1); err != nil {
		t.Fatal(err)
	}
	kept, _ := of.Used()
	rest := 0
	for step := 1 << 30; step > 0; step /= 2 { // as much as there is room for
		if of.Keep(step) {
			rest += step
		}
	}
	of.Drop(keptBytes("k"))
	if err := attach(second, 2); err != nil {
		t.Errorf("the last that fits: %v", err)
	}
	if err := attach(second, 3); !errors.Is(err, account.ErrKeeps) {
		t.Errorf("beyond the connection's bytes: %v, want %v", err, account.ErrKeeps)
	}
	if err := attach(r.Open(t.Context(), quietSink{}, "", &account.Account{}), 4); err != nil {
		t.Errorf("of another connection: %v", err)
	}
	first.Close() // what it has kept is free again
	if err := attach(second, 5); err != nil {
		t.Errorf("with room again: %v", err)
	}
	second.Close()
	second.Close() // a second time is fine
	if left, _ := of.Used(); left != int64(rest-keptBytes("k")) || int(kept) != keptBytes("k") {
		t.Errorf("%d bytes are left when the sessions have closed, want %d", left, rest-keptBytes("k"))
	}
}

// What a session may have attached is bounded, and what makes no sense is refused.
func TestAttach(t *testing.T) {
	in := epochtest.View(1, "a")
	placed, err := ring.Build(in, 8)
	if err != nil {
		t.Fatal(err)
	}
	r, a := New(Config{}), &epoch.View{View: in, Ring: placed}
	limits := sharelock.Limits{MaxTTL: time.Minute}
	s := r.Open(t.Context(), quietSink{}, "", &account.Account{})
	keep := func(id uint64, key string, ttl time.Duration) error {
		_, err := r.attach(0, s, a, limits, &sessionwire.Keep{Kind: sessionwire.KeepAttach, ID: id, Key: key, Token: 1, TTL: ttl})
		return err
	}
	_, refused := r.attach(0, s, a, limits, &sessionwire.Keep{ID: 3, Err: sharelock.Invalid("token", "is missing")})
	for name, err := range map[string]error{
		"no key":          keep(1, "", time.Second),
		"a TTL too long":  keep(2, "k", 2*time.Minute),
		"what is refused": refused,
	} {
		if !errors.Is(err, sharelock.ErrInvalidArgument) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for id := range uint64(maxKept) {
		if err := keep(id, "k", time.Second); err != nil {
			t.Fatal(err)
		}
	}
	if err := keep(7, "k", time.Second); !errors.Is(err, sharelock.ErrInvalidArgument) {
		t.Errorf("an id that is in use: %v", err)
	}
	if err := keep(maxKept, "k", time.Second); !errors.Is(err, sharelock.ErrQuota) {
		t.Errorf("one more than there may be: %v", err)
	}
	other := r.Open(t.Context(), quietSink{}, "", &account.Account{})
	s, other = other, s
	if err := keep(7, "k", time.Second); err != nil {
		t.Errorf("another session: %v", err)
	}
	r.detach(other, 7)
	s, other = other, s
	if err := keep(maxKept, "k", time.Second); err != nil {
		t.Errorf("after a detach: %v", err)
	}
	s.Close()
	if n := r.fresh.holds(); n != 1 {
		t.Errorf("%d are left, want that of the other session", n)
	}
	if err := keep(1, "k", time.Second); err != nil || r.fresh.holds() != 1 {
		t.Errorf("a session that is closed took one: %v", err)
	}
	other.Close()
	if n := r.fresh.holds(); n != 0 {
		t.Errorf("%d are left", n)
	}
}
