package owner

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/sgkandale/sharelock/ring"
)

// Retries of one peer call within an activation.
const (
	retryFirst = 2 * time.Millisecond
	retryMost  = 100 * time.Millisecond
)

// activation is the hand-shake of section 4 for all partitions that this member
// owns in one epoch. It repeats messages until they are answered and chooses
// once; it ends when every member has confirmed (G1) or a newer view is
// installed.
type activation struct {
	service *Service
	history ring.History
	ring    *ring.Ring
	view    ring.View
	epoch   uint32
	owned   []uint32
}

func (a *activation) run(ctx context.Context) {
	if len(a.owned) == 0 {
		return
	}
	began := a.service.clock()
	answers, err := a.askAll(ctx)
	if err != nil {
		return // a newer view took over
	}
	plan := a.choose(answers)
	a.serve(plan.keep)
	a.quarantine(plan.lost)
	if err := a.fetchAll(ctx, plan.fetch); err != nil {
		return
	}
	a.service.log.Info("activated", "epoch", a.epoch, "partitions", len(a.owned),
		"fetched", plan.fetched(), "quarantined", len(plan.lost), "took", a.service.clock()-began)
	a.service.touch()
	a.tellAll(ctx)
}

// answer is what one member of the view holds.
type answer struct {
	member ring.Member
	held   map[uint32]Held
}

// askAll is step 1: every member of the view must answer. By A1 each of them now
// refuses everything older than this epoch.
func (a *activation) askAll(ctx context.Context) ([]answer, error) {
	answers := make([]answer, len(a.view.Members))
	var wg sync.WaitGroup
	for i, m := range a.view.Members {
		answers[i].member = m
		wg.Go(func() {
			answers[i].held = index(a.ask(ctx, m))
		})
	}
	wg.Wait()
	return answers, ctx.Err()
}

func (a *activation) ask(ctx context.Context, m ring.Member) []Held {
	if m.Identity == a.service.self {
		held, err := a.service.Ask(a.epoch, a.owned)
		if err != nil {
			return nil // ctx has ended: a newer view
		}
		return held
	}
	var held []Held
	a.repeat(ctx, "ask", m, func() (err error) {
		held, err = a.service.peers.Ask(ctx, m, a.epoch, a.owned)
		return err
	})
	return held
}

func index(held []Held) map[uint32]Held {
	m := make(map[uint32]Held, len(held))
	for _, h := range held {
		m[h.Partition] = h
	}
	return m
}

// plan is what an activation chose: the copies it keeps (or starts empty because
// nobody ever held one), those it fetches and from whom, and the partitions
// whose state is lost.
type plan struct {
	keep, lost []uint32
	fetch      map[ring.Member][]Held
}

func (p plan) fetched() int {
	n := 0
	for _, held := range p.fetch {
		n += len(held)
	}
	return n
}

// choose is step 2, once per epoch.
func (a *activation) choose(answers []answer) plan {
	pl := plan{fetch: map[ring.Member][]Held{}}
	for _, p := range a.owned {
		best, from := Held{Partition: p}, -1
		for i := range answers {
			// Of equal copies the own one is taken: it need not travel.
			h, ok := answers[i].held[p]
			if ok && (h.newer(best) || h == best && answers[i].member.Identity == a.service.self) {
				best, from = h, i
			}
		}
		switch {
		case !a.good(p, best.Have):
			pl.lost = append(pl.lost, p)
		case from < 0 || answers[from].member.Identity == a.service.self:
			pl.keep = append(pl.keep, p)
		default:
			m := answers[from].member
			pl.fetch[m] = append(pl.fetch[m], best)
		}
	}
	return pl
}

// good says whether a copy last synced in epoch have is the state of p: in every
// view since, a member of p's replica set — the same incarnation — is among
// those who answered. That member was not synced then, so p was never active in
// that view (section 4.2). All members of this view have answered.
func (a *activation) good(p, have uint32) bool {
	between, complete := a.history.Between(have, a.epoch)
	if !complete {
		return false
	}
	for _, v := range between {
		r, err := a.service.rings.of(v)
		if err != nil {
			a.service.log.Error("a view of the history cannot be placed", "epoch", v.Epoch, "error", err)
			return false
		}
		witnessed := len(r.Replicas(p)) == 0 // nobody was on the ring to be active
		for _, m := range r.Replicas(p) {
			if _, here := a.view.Find(m.Identity); here {
				witnessed = true
				break
			}
		}
		if !witnessed {
			return false
		}
	}
	return true
}

// serve activates partitions whose chosen copy is here (steps 4 and 5).
func (a *activation) serve(parts []uint32) {
	a.each(parts, func(sh *shard, p *partition, now time.Duration) {
		if p.m == nil {
			sh.replace(p, NewMachine(p.id, a.service.waiters), a.epoch)
		}
		sh.activate(now, p, a.epoch)
	})
}

// quarantine starts partitions empty whose state is lost (step 3).
func (a *activation) quarantine(parts []uint32) {
	if len(parts) == 0 {
		return
	}
	a.service.log.Warn("state lost, quarantined", "epoch", a.epoch, "partitions", len(parts), "for", Stretch(a.service.maxTTL))
	a.each(parts, func(sh *shard, p *partition, now time.Duration) {
		sh.replace(p, NewMachine(p.id, a.service.waiters), a.epoch)
		p.m.Quarantine(now, Stretch(a.service.maxTTL))
		sh.activate(now, p, a.epoch)
	})
}

// each runs fn for partitions in their loops, unless a newer view came.
func (a *activation) each(parts []uint32, fn func(*shard, *partition, time.Duration)) {
	for _, id := range parts {
		a.service.shard(id).put(item{fn: func() {
			if sh := a.service.shard(id); a.current(sh) {
				fn(sh, sh.part(id), a.service.clock())
			}
		}})
	}
	// A barrier, so that the caller goes on when all of it is done.
	a.service.everyShard(func(*shard) {})
	a.service.touch()
}

// current: no newer view came. Once per epoch and shard, because a shard installs
// views in its own loop.
func (a *activation) current(sh *shard) bool {
	return sh.epoch == a.epoch && a.service.cur.Load() == a.epoch
}

// fetchAll is step 4 for copies that are elsewhere.
func (a *activation) fetchAll(ctx context.Context, from map[ring.Member][]Held) error {
	var wg sync.WaitGroup
	for m, want := range from {
		wg.Go(func() {
			missing := index(want)
			a.repeat(ctx, "fetch", m, func() error {
				left := make([]Held, 0, len(missing))
				for _, h := range missing {
					left = append(left, h)
				}
				return a.service.peers.Fetch(ctx, m, a.epoch, left, func(c Copy) error {
					if err := a.take(missing, c); err != nil {
						return err
					}
					delete(missing, c.Partition)
					return nil
				})
			})
		})
	}
	wg.Wait()
	return ctx.Err()
}

// errWrongCopy: a member sent another copy than it had said it holds.
var errWrongCopy = errors.New("not the copy that was chosen")

func (a *activation) take(missing map[uint32]Held, c Copy) error {
	if want, ok := missing[c.Partition]; !ok || want != c.Held {
		return errWrongCopy
	}
	m := NewMachine(c.Partition, a.service.waiters)
	if err := m.Decode(a.service.clock(), c.Data); err != nil {
		return err
	}
	a.service.inShard(c.Partition, func(sh *shard, p *partition) {
		if a.current(sh) {
			sh.replace(p, m, a.epoch)
			sh.activate(a.service.clock(), p, a.epoch)
		}
	})
	return nil
}

// tellAll is G1: the members drop their older copies, until all have confirmed.
func (a *activation) tellAll(ctx context.Context) {
	var wg sync.WaitGroup
	for _, m := range a.view.Members {
		if m.Identity == a.service.self {
			continue
		}
		wg.Go(func() {
			a.repeat(ctx, "active", m, func() error {
				return a.service.peers.Active(ctx, m, a.epoch, a.owned)
			})
		})
	}
	wg.Wait()
}

// repeat calls fn until it succeeds or a newer view ends the activation.
func (a *activation) repeat(ctx context.Context, what string, m ring.Member, fn func() error) {
	wait := retryFirst
	for ctx.Err() == nil {
		err := fn()
		if err == nil {
			return
		}
		a.service.log.Debug("activation repeats", "call", what, "member", m.Name, "epoch", a.epoch, "error", err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		wait = min(wait*2, retryMost)
	}
}
