package owner

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sgkandale/sharelock/internal/rules"
	"github.com/sgkandale/sharelock/internal/wake"
	"github.com/sgkandale/sharelock/owner/machine"
	"github.com/sgkandale/sharelock/ring"
)

// The pauses between attempts of one peer call within an activation grow from retryFirst to
// retryMost.
const (
	retryFirst = 2 * time.Millisecond
	retryMost  = 100 * time.Millisecond
)

// headStart is how long only partitions that need no data are activated.
const headStart = 100 * time.Millisecond

// An activation is the protocol of section 4 for all partitions that this member owns in one epoch.
// It repeats messages until they are answered and chooses once. It ends when every member has
// confirmed (G1) or a newer view is installed.
//
// After the choice no partition waits for another. A partition is fetched by pull from the member
// that has it, stamped with the epoch, given to its backups by their pushers, served when all of
// them have it, and announced by the tellers.
type activation struct {
	service *Service
	history ring.History
	ring    *ring.Ring
	view    ring.View
	epoch   uint32
	owned   []uint32
	began   time.Duration
	// answers are what the members hold, once all have answered.
	answers []answer
	pushers map[ring.Identity]*pusher
	tellers []*teller

	mu sync.Mutex
	// awaited has, for each partition, how many members have not confirmed yet; guarded by mu.
	awaited map[uint32]int
	// serving is the number of partitions that are served; guarded by mu.
	serving int
	plan    plan
}

func (a *activation) run(ctx context.Context) {
	if len(a.owned) == 0 {
		return
	}
	a.began = a.service.clock()
	answers, err := a.askAll(ctx)
	if err != nil {
		return // a newer view took over
	}
	a.answers = answers
	a.plan = a.choose()
	var wg sync.WaitGroup
	a.start(ctx, &wg)
	defer wg.Wait()

	a.quarantine(a.plan.lost)
	// Partitions whose backups have the chosen copy come first: they need two round trips and no
	// data. The others wait for them, but only as long as headStart.
	ready, rest := a.split(a.plan.keep)
	a.offer(ready)
	head := time.NewTimer(headStart)
	defer head.Stop()
	for changed := a.service.Changed(); a.served() < len(ready); changed = a.service.Changed() {
		select {
		case <-changed:
			continue
		case <-head.C:
		case <-ctx.Done():
			return
		}
		break
	}
	for m, want := range a.plan.fetch {
		wg.Go(func() { a.pull(ctx, m, want) })
	}
	a.offer(append(rest, a.plan.lost...))
}

// start starts the pushers and tellers, which run until all partitions are served and announced.
func (a *activation) start(ctx context.Context, wg *sync.WaitGroup) {
	a.awaited = make(map[uint32]int, len(a.owned))
	a.pushers = map[ring.Identity]*pusher{}
	for _, p := range a.owned {
		for _, m := range a.backups(p) {
			b := a.pushers[m.Identity]
			if b == nil {
				b = newPusher(a, m)
				a.pushers[m.Identity] = b
			}
			b.left++
		}
	}
	for _, b := range a.pushers {
		wg.Go(func() { b.run(ctx) })
	}
	for _, m := range a.view.Members {
		if m.Identity != a.service.self {
			t := &teller{a: a, member: m, wake: wake.New()}
			a.tellers = append(a.tellers, t)
			wg.Go(func() { t.run(ctx) })
		}
	}
}

// served returns the number of partitions that are served.
func (a *activation) served() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.serving
}

// An answer is what one member of the view holds.
type answer struct {
	member ring.Member
	held   map[uint32]Held
}

// askAll is step 1: every member of the view must answer. From its answer on each of them refuses
// everything older than this epoch (A1).
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

// A plan is what an activation has chosen: the copies that it keeps, or starts empty because nobody
// ever had one; those that it fetches, and from whom; and the partitions whose state is lost.
type plan struct {
	keep, lost []Held
	fetch      map[ring.Member][]Held
}

func (p plan) fetched() int {
	n := 0
	for _, held := range p.fetch {
		n += len(held)
	}
	return n
}

// choose is step 2. It is done once in an epoch.
func (a *activation) choose() plan {
	pl := plan{fetch: map[ring.Member][]Held{}}
	for _, p := range a.owned {
		best, from := Held{Partition: p}, -1
		for i := range a.answers {
			// Of equal copies the own one is taken: it need not travel.
			h, ok := a.answers[i].held[p]
			if ok && (h.newer(best) || h == best && a.answers[i].member.Identity == a.service.self) {
				best, from = h, i
			}
		}
		switch {
		case !a.good(p, best.Have):
			pl.lost = append(pl.lost, Held{Partition: p})
		case from < 0 || a.answers[from].member.Identity == a.service.self:
			pl.keep = append(pl.keep, best)
		default:
			m := a.answers[from].member
			pl.fetch[m] = append(pl.fetch[m], best)
		}
	}
	return pl
}

// good reports whether a copy of p that was last synced in epoch have is the newest state of p. It
// is if in every view since then a member of p's replica set, in the same incarnation, is among
// those that have answered: that member was not synced in that view, so p was never active in it
// (section 4.2). All members of this view have answered.
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
			_, here := a.view.Find(m.Identity)
			if here {
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

// quarantine starts the partitions whose state is lost, empty and in quarantine (step 3).
func (a *activation) quarantine(lost []Held) {
	if len(lost) == 0 {
		return
	}
	a.service.log.Warn("state lost: partitions are in quarantine", "epoch", a.epoch, "partitions", len(lost), "for", rules.Stretch(a.service.maxTTL))
	for _, h := range lost {
		a.visit(h.Partition, func(sh *shard, p *partition) {
			sh.replace(p, machine.New(p.id, a.service.waiters), a.epoch)
			d := rules.Stretch(a.service.maxTTL)
			p.m.Quarantine(a.service.clock(), d)
		})
	}
}

// split divides partitions into those whose backups all have the chosen copy already, and the
// others.
func (a *activation) split(chosen []Held) (ready, rest []Held) {
	for _, h := range chosen {
		all := true
		for _, m := range a.backups(h.Partition) {
			all = all && a.holds(m, h)
		}
		if all {
			ready = append(ready, h)
		} else {
			rest = append(rest, h)
		}
	}
	return ready, rest
}

// visitAll runs fn for partitions, each in its shard's turn, and waits for all. It skips the rest
// once a newer view has come.
func (a *activation) visitAll(list []Held, fn func(*shard, *partition, Held)) {
	shards := a.service.shards
	byShard := make([][]Held, len(shards))
	for _, h := range list {
		i := int(h.Partition) % len(shards)
		byShard[i] = append(byShard[i], h)
	}
	var wg sync.WaitGroup
	for i, part := range byShard {
		if len(part) == 0 {
			continue
		}
		wg.Add(1)
		if !shards[i].put(item{fn: func(*shard) {
			defer wg.Done()
			for _, h := range part {
				if a.current(shards[i]) {
					fn(shards[i], shards[i].part(h.Partition), h)
				}
			}
		}}) {
			wg.Done()
		}
	}
	wg.Wait()
}

// visit runs fn for a partition in its shard's turn and waits for it, unless a newer view has come.
func (a *activation) visit(id uint32, fn func(*shard, *partition)) {
	a.service.inShard(id, func(sh *shard, p *partition) {
		if a.current(sh) {
			fn(sh, p)
		}
	})
}

// current reports whether no newer view has come. It must be called in the shard's turn, in which
// shards install views.
func (a *activation) current(sh *shard) bool {
	return sh.epoch == a.epoch && a.service.cur.Load() == a.epoch
}

// offer gives copies that are here to their backups; when all of these have confirmed, the
// partitions are served (steps 4 and 5).
func (a *activation) offer(chosen []Held) {
	if len(chosen) == 0 || !a.stamp(chosen) {
		return // a newer view came
	}
	lists := map[ring.Identity][]Held{}
	var alone []uint32
	a.mu.Lock()
	for _, h := range chosen {
		backups := a.backups(h.Partition)
		a.awaited[h.Partition] = len(backups) + 1 // this member confirms when it is prepared
		for _, m := range backups {
			lists[m.Identity] = append(lists[m.Identity], h)
		}
	}
	a.mu.Unlock()
	for id, list := range lists {
		a.pushers[id].add(list)
	}
	a.open(alone)
	a.confirmed(a.prepare(chosen))
}

// prepare prepares copies for their activation, in parts. It returns the partitions that are
// prepared: all, unless a newer view has come.
func (a *activation) prepare(chosen []Held) []uint32 {
	shards := a.service.shards
	lists := make([][]uint32, len(shards))
	for _, h := range chosen {
		i := int(h.Partition) % len(shards)
		lists[i] = append(lists[i], h.Partition)
	}
	ready := make([][]uint32, len(shards))
	var wg sync.WaitGroup
	for i, list := range lists {
		if len(list) == 0 {
			continue
		}
		sh, begun := shards[i], false
		wg.Add(1)
		if !sh.put(item{fn: func(*shard) {
			sh.do(chore{step: func() (touched int, done bool) {
				for ; len(list) > 0 && touched < machine.StepEntries/2; list, begun = list[1:], false {
					if !a.current(sh) {
						return touched, true
					}
					p := sh.part(list[0])
					if !begun {
						p.m.BeginPrepare()
						begun = true
					}
					done := p.m.Prepare(a.service.clock())
					touched += sh.saw(p.m)
					if !done {
						return touched, false
					}
					ready[i] = append(ready[i], p.id)
				}
				return touched, len(list) == 0
			}, end: wg.Done})
		}}) {
			wg.Done()
		}
	}
	wg.Wait()
	return slices.Concat(ready...)
}

// confirmed counts one more confirmation for each of the partitions.
func (a *activation) confirmed(partitions []uint32) {
	var all []uint32
	a.mu.Lock()
	for _, p := range partitions {
		if a.awaited[p]--; a.awaited[p] == 0 {
			all = append(all, p)
		}
	}
	a.mu.Unlock()
	a.open(all)
}

// stamp makes the chosen copies the bases of this epoch. It returns false if any of them is not
// here exactly as it was chosen, which can be if a newer view has come; that copy is not changed,
// because a copy that carries an epoch is preferred to all older ones (section 4.2).
func (a *activation) stamp(chosen []Held) bool {
	var stamped atomic.Int64
	a.visitAll(chosen, func(sh *shard, p *partition, h Held) {
		switch {
		case p.m == nil && h.Have == 0: // the empty copy, which everybody holds
			sh.replace(p, machine.New(p.id, a.service.waiters), a.epoch)
		case p.m == nil:
			return
		case p.have == a.epoch: // fetched, or quarantined
		case p.have == h.Have && p.m.Seq() == h.Seq:
			p.have = a.epoch
		default:
			return
		}
		p.from = h.Have
		stamped.Add(1)
	})
	return int(stamped.Load()) == len(chosen)
}

// open starts to serve partitions whose backups have all confirmed, and has the members told.
func (a *activation) open(partitions []uint32) {
	if len(partitions) == 0 {
		return
	}
	list := make([]Held, len(partitions))
	for i, p := range partitions {
		list[i].Partition = p
	}
	var opened atomic.Int64
	a.visitAll(list, func(sh *shard, p *partition, _ Held) {
		sh.activate(a.service.clock(), p, a.epoch, a.backups(p.id))
		opened.Add(1)
	})
	if int(opened.Load()) < len(partitions) {
		return // a newer view came
	}
	a.mu.Lock()
	a.serving += len(partitions)
	all := a.serving == len(a.owned)
	a.mu.Unlock()
	if all {
		a.service.activated(a.service.clock() - a.began)
		a.service.log.Info("activated", "epoch", a.epoch, "partitions", len(a.owned),
			"fetched", a.plan.fetched(), "lost", len(a.plan.lost), "took", a.service.clock()-a.began)
	}
	for _, t := range a.tellers {
		t.add(partitions)
	}
	a.service.touch()
}

func (a *activation) backups(p uint32) []ring.Member {
	if set := a.ring.Replicas(p); len(set) > 1 {
		return set[1:]
	}
	return nil
}

// holds reports whether the member has answered that it has exactly this copy. Every member has the
// empty copy of epoch 0.
func (a *activation) holds(m ring.Member, chosen Held) bool {
	for i := range a.answers {
		if a.answers[i].member.Identity == m.Identity {
			h, ok := a.answers[i].held[chosen.Partition]
			return ok && h == chosen || !ok && chosen.Have == 0
		}
	}
	return false
}

// repeat calls fn until it succeeds or a newer view ends the activation. All that time counts as
// one wait for the member; only success is progress (V6).
func (a *activation) repeat(ctx context.Context, what string, m ring.Member, fn func() error) {
	w := a.await(m)
	defer a.service.stalls.end(w)
	for pause := retryFirst; ctx.Err() == nil; pause = min(pause*2, retryMost) {
		err := fn()
		if err == nil {
			return
		}
		a.failed(ctx, what, m, err)
		rest(ctx, pause)
	}
}

// await begins a wait for a member.
func (a *activation) await(m ring.Member) *stall {
	w := &stall{member: m.Identity}
	a.service.stalls.progress(w, a.service.clock())
	return w
}

// failed logs an error if a member refuses what the activation needs.
func (a *activation) failed(ctx context.Context, what string, m ring.Member, err error) {
	if errors.Is(err, ErrRefused) && ctx.Err() == nil {
		a.service.log.Warn("a member refuses a call of an activation", "call", what, "member", m.Name, "epoch", a.epoch, "error", err)
	}
}

// rest pauses before a call is made again.
func rest(ctx context.Context, pause time.Duration) {
	t := time.NewTimer(pause)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
