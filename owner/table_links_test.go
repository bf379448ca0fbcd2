package owner

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing/synctest"
	"time"

	"github.com/sgkandale/sharelock/ring"
)

// The names of what passes at the table; from a client's side "answer" is what its
// owner says to it.
const (
	anything     = ""
	askMessage   = "ask"
	askAnswer    = "ask answer"
	fetchMessage = "fetch"
	fetchAnswer  = "fetch answer"
	syncMessage  = "sync"
	syncAnswer   = "sync answer"
	activeNote   = "active"
	activeAnswer = "active answer"
	opsMessage   = "ops"
	ackMessage   = "ack"
	clientAnswer = "answer"
)

// links are everything between members, and between owners and clients.
type links struct {
	mu sync.Mutex
	// gates stop or copy messages; the first that a message fits counts. Guarded by
	// mu.
	gates []*gate
	// late: who asked hears an answer even if it does not wait for it any more.
	late bool
}

// what a gate does with the messages that come to it.
type gateKind int

const (
	holding gateKind = iota
	losing
	copying
)

// gate is a place on some links. One that holds keeps messages back, one that
// loses drops them, one that copies lets them pass and keeps them too.
type gate struct {
	links          *links
	kind           gateKind
	what, from, to string
	kept           []func() // guarded by links.mu
}

func (l *links) gate(kind gateKind, what, from, to string) *gate {
	g := &gate{links: l, kind: kind, what: what, from: from, to: to}
	l.mu.Lock()
	l.gates = append(l.gates, g)
	l.mu.Unlock()
	return g
}

// hold keeps messages of a kind back between two names; an empty name is anybody,
// an empty kind anything.
func (tb *table) hold(what, from, to string) *gate { return tb.links.gate(holding, what, from, to) }

// lose loses them.
func (tb *table) lose(what, from, to string) *gate { return tb.links.gate(losing, what, from, to) }

// tap keeps copies of them.
func (tb *table) tap(what, from, to string) *gate { return tb.links.gate(copying, what, from, to) }

// cutOff loses everything from and to a member, but not what it says to clients;
// the result lets it pass again.
func (tb *table) cutOff(s *seated) (mend func()) {
	name := s.member.ID
	var gates []*gate
	for _, what := range []string{
		askMessage, askAnswer, fetchMessage, fetchAnswer, syncMessage, syncAnswer, activeNote, activeAnswer, opsMessage, ackMessage,
	} {
		gates = append(gates, tb.lose(what, name, anything), tb.lose(what, anything, name))
	}
	return func() {
		for _, g := range gates {
			g.open()
		}
	}
}

// open ends a gate: what comes from now on passes. What it has kept stays kept.
func (g *gate) open() {
	g.links.mu.Lock()
	g.links.gates = slices.DeleteFunc(g.links.gates, func(o *gate) bool { return o == g })
	g.links.mu.Unlock()
}

// count is how many messages the gate has kept.
func (g *gate) count() int {
	g.links.mu.Lock()
	defer g.links.mu.Unlock()
	return len(g.kept)
}

// deliver delivers what was kept, in order, and waits until everything is at
// rest. Doing so again delivers it again.
func (g *gate) deliver() {
	g.links.mu.Lock()
	kept := slices.Clone(g.kept)
	g.links.mu.Unlock()
	for _, f := range kept {
		f()
	}
	synctest.Wait()
}

// release ends a gate and delivers what it held.
func (g *gate) release() {
	g.open()
	g.deliver()
}

// send passes a message on by calling run, now or when its gate delivers it;
// false when it is lost.
func (l *links) send(what, from, to string, run func()) bool {
	l.mu.Lock()
	for _, g := range l.gates {
		if g.what != anything && g.what != what || g.from != anything && g.from != from || g.to != anything && g.to != to {
			continue
		}
		if g.kind != losing {
			g.kept = append(g.kept, run)
		}
		l.mu.Unlock()
		if g.kind == copying {
			run()
		}
		return g.kind != losing
	}
	l.mu.Unlock()
	run()
	return true
}

var errLost = errors.New("the link is down")

// call is a call from one member to another: two messages.
func call[T any](ctx context.Context, from *seated, to ring.Member, epoch uint32, what string, fn func(*Service) (T, error)) (T, error) {
	type result struct {
		v   T
		err error
	}
	done := make(chan result, 1)
	answer := func(r result) {
		select {
		case done <- r:
		default: // repeated
		}
	}
	l := &from.table.links
	sent := l.send(what, from.member.ID, to.ID, func() {
		var r result
		s, err := from.table.peer(to, epoch)
		if r.err = err; err == nil {
			r.v, r.err = fn(s)
		}
		if !l.send(what+" answer", to.ID, from.member.ID, func() { answer(r) }) {
			answer(result{err: errLost})
		}
	})
	if !sent {
		answer(result{err: errLost})
	}
	if l.late {
		r := <-done
		return r.v, r.err
	}
	select {
	case r := <-done:
		return r.v, r.err
	case <-ctx.Done():
		return *new(T), ctx.Err()
	}
}

// peer is the process that is meant, in the epoch of the caller (A1).
func (tb *table) peer(to ring.Member, epoch uint32) (*Service, error) {
	s := tb.members[to.ID]
	if s == nil || s.member.Identity != to.Identity || s.crashed.Load() {
		return nil, errors.New("no such process")
	}
	s.installing.Lock()
	defer s.installing.Unlock()
	if s.service.Epoch() < epoch {
		tb.installLocked(s)
	}
	return s.service, nil
}

// Ask implements Peers.
func (s *seated) Ask(ctx context.Context, to ring.Member, epoch uint32, partitions []uint32) ([]Held, error) {
	return call(ctx, s, to, epoch, askMessage, func(o *Service) ([]Held, error) { return o.Ask(epoch, partitions) })
}

// Fetch implements Peers.
func (s *seated) Fetch(ctx context.Context, to ring.Member, epoch uint32, wants []Want) ([]Piece, error) {
	return call(ctx, s, to, epoch, fetchMessage, func(o *Service) ([]Piece, error) { return o.Fetch(epoch, wants) })
}

// Sync implements Peers.
func (s *seated) Sync(ctx context.Context, to ring.Member, epoch uint32, bases []Base) ([]Taken, error) {
	return call(ctx, s, to, epoch, syncMessage, func(o *Service) ([]Taken, error) {
		return o.Sync(s.member.Identity, epoch, bases)
	})
}

// Active implements Peers.
func (s *seated) Active(ctx context.Context, to ring.Member, epoch uint32, partitions []uint32) error {
	_, err := call(ctx, s, to, epoch, activeNote, func(o *Service) (struct{}, error) {
		return struct{}{}, o.Active(epoch, partitions)
	})
	return err
}

// Replicate implements Peers.
func (s *seated) Replicate(to ring.Member, epoch uint32, entries []Entries) {
	tb, from, entries := s.table, s.member, slices.Clone(entries)
	tb.links.send(opsMessage, from.ID, to.ID, func() {
		b := tb.members[to.ID]
		if b == nil || b.member.Identity != to.Identity {
			return
		}
		b.service.Backup(from.Identity, epoch, entries, func(e uint32, a Ack) {
			tb.links.send(ackMessage, to.ID, from.ID, func() { s.service.Acked(to.Identity, e, []Ack{a}) })
		})
	})
}

// lease gives a member with leases of its own one that was asked for at a moment
// of its own clock (V4).
func (s *seated) lease(asked time.Duration) { s.service.SetLease(asked + leaseLength) }

// leaseLength is L.
const leaseLength = 2 * time.Second
