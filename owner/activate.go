package owner

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sgkandale/sharelock/owner/mutant"
	"github.com/sgkandale/sharelock/ring"
)

// Retries of one peer call within an activation.
const (
	retryFirst = 2 * time.Millisecond
	retryMost  = 100 * time.Millisecond
)

// headStart is how long partitions that need no data are activated alone.
const headStart = 100 * time.Millisecond

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
	// answers are what the members hold, once all have said it.
	answers []answer
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
	a.answers = answers
	plan := a.choose()
	a.quarantine(plan.lost)
	// Partitions whose replica set has all it needs come first, and alone unless one
	// of their backups takes long: they wait for two round trips and for nobody's data.
	ready, rest := a.split(plan.keep)
	var wg sync.WaitGroup
	served := make(chan struct{})
	wg.Go(func() {
		defer close(served)
		a.serve(ctx, ready)
	})
	head := time.NewTimer(headStart)
	defer head.Stop()
	select {
	case <-served:
	case <-head.C:
	case <-ctx.Done():
	}
	wg.Go(func() { a.serve(ctx, append(rest, plan.lost...)) })
	for m, want := range plan.fetch {
		wg.Go(func() {
			if a.fetch(ctx, m, want) {
				a.serve(ctx, want)
			}
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		return
	}
	a.service.log.Info("activated", "epoch", a.epoch, "partitions", len(a.owned),
		"fetched", plan.fetched(), "lost", len(plan.lost), "took", a.service.clock()-began)
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
		if mutant.On(mutant.AskUnanswered) && i == len(a.view.Members)-1 && m.Identity != a.service.self {
			continue
		}
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
	a.repeat(ctx, "ask", m, func(func()) (err error) {
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

// choose is step 2, once per epoch.
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

// good says whether a copy last synced in epoch have is the state of p: in every
// view since, a member of p's replica set — the same incarnation — is among
// those who answered. That member was not synced then, so p was never active in
// that view (section 4.2). All members of this view have answered.
func (a *activation) good(p, have uint32) bool {
	between, complete := a.history.Between(have, a.epoch)
	if mutant.On(mutant.AnyCopyIsGood) {
		return true
	}
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
			if mutant.On(mutant.RestartedWitness) {
				here = slices.ContainsFunc(a.view.Members, func(now ring.Member) bool { return now.ID == m.ID })
			}
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

// quarantine starts partitions empty whose state is lost (step 3).
func (a *activation) quarantine(lost []Held) {
	if len(lost) == 0 {
		return
	}
	a.service.log.Warn("state lost, quarantined", "epoch", a.epoch, "partitions", len(lost), "for", Stretch(a.service.maxTTL))
	for _, h := range lost {
		a.visit(h.Partition, func(sh *shard, p *partition) {
			sh.replace(p, NewMachine(p.id, a.service.waiters), a.epoch)
			d := Stretch(a.service.maxTTL)
			if mutant.On(mutant.QuarantineEarly) {
				d /= 2
			}
			p.m.Quarantine(a.service.clock(), d)
		})
	}
}

// split divides partitions into those whose backups hold the chosen copy already and
// the others.
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

// visitAll runs fn for partitions, each in its loop, and waits for all; not for any
// more once a newer view came.
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
		if !shards[i].put(item{fn: func() {
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

// visit runs fn for a partition in its loop and waits for it, unless a newer view
// came.
func (a *activation) visit(id uint32, fn func(*shard, *partition)) {
	a.service.inShard(id, func(sh *shard, p *partition) {
		if a.current(sh) {
			fn(sh, p)
		}
	})
}

// current: no newer view came. It is asked in the shard's loop, because a shard
// installs views there.
func (a *activation) current(sh *shard) bool {
	return sh.epoch == a.epoch && a.service.cur.Load() == a.epoch || mutant.On(mutant.OldAnswers)
}

// fetch takes copies that are elsewhere (step 4). It is false if a newer view came
// before they were all here.
func (a *activation) fetch(ctx context.Context, m ring.Member, want []Held) bool {
	missing := index(want)
	a.repeat(ctx, "fetch", m, func(progress func()) error {
		left := make([]Held, 0, len(missing))
		for _, h := range missing {
			left = append(left, h)
		}
		return a.service.peers.Fetch(ctx, m, a.epoch, left, func(c Copy) error {
			if err := a.take(missing, c); err != nil {
				return err
			}
			delete(missing, c.Partition)
			progress()
			return nil
		})
	})
	return len(missing) == 0
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
	a.visit(c.Partition, func(sh *shard, p *partition) { sh.replace(p, m, a.epoch) })
	return nil
}

// serve gives copies that are here to their backups, and when all of these have
// confirmed lets clients in (steps 4 and 5). Partitions with other backups do not
// wait for them.
func (a *activation) serve(ctx context.Context, chosen []Held) {
	if len(chosen) == 0 || !a.stamp(chosen) {
		return // a newer view came
	}
	// A backup gets all that it is a backup of at once: few messages.
	backups := map[ring.Identity]*backup{}
	groups := map[*ring.Member][]Held{} // by the beginning of their set, which they share
	for _, h := range chosen {
		var set *ring.Member
		all := a.backups(h.Partition)
		if len(all) > 0 {
			set = &all[0]
		}
		for _, m := range all {
			b := backups[m.Identity]
			if b == nil {
				b = &backup{member: m, confirmed: make(chan struct{})}
				backups[m.Identity] = b
			}
			b.chosen = append(b.chosen, h)
		}
		groups[set] = append(groups[set], h)
	}
	var wg sync.WaitGroup
	for _, b := range backups {
		wg.Go(func() {
			defer close(b.confirmed)
			a.sync(ctx, b.member, b.chosen)
		})
	}
	for _, group := range groups {
		wg.Go(func() { a.open(ctx, group, backups) })
	}
	wg.Wait()
	a.service.touch()
}

// backup is what one backup has to confirm before its partitions are served.
type backup struct {
	member ring.Member
	chosen []Held
	// confirmed is closed when it has, or a newer view came.
	confirmed chan struct{}
}

// stamp makes the chosen copies the bases of this epoch. It is false, and such a copy
// is not changed, unless each very copy is here: a newer view may have come, and what
// carries an epoch is chosen before anything older (section 4.2).
func (a *activation) stamp(chosen []Held) bool {
	var stamped atomic.Int64
	a.visitAll(chosen, func(sh *shard, p *partition, h Held) {
		switch {
		case p.m == nil && h.Have == 0: // the empty copy, which everybody holds
			sh.replace(p, NewMachine(p.id, a.service.waiters), a.epoch)
		case p.m == nil:
			return
		case p.have == a.epoch: // fetched, or quarantined
		case p.have == h.Have && p.m.Seq() == h.Seq:
			p.have = a.epoch
		default:
			return
		}
		stamped.Add(1)
	})
	return int(stamped.Load()) == len(chosen)
}

// open lets clients into partitions with the same backups, when these have confirmed.
func (a *activation) open(ctx context.Context, group []Held, backups map[ring.Identity]*backup) {
	for _, m := range a.backups(group[0].Partition) {
		if !mutant.On(mutant.SyncNotAwaited) {
			<-backups[m.Identity].confirmed
		}
	}
	if ctx.Err() != nil {
		return
	}
	a.visitAll(group, func(sh *shard, p *partition, _ Held) {
		sh.activate(a.service.clock(), p, a.epoch, a.backups(p.id))
	})
}

func (a *activation) backups(p uint32) []ring.Member {
	if set := a.ring.Replicas(p); len(set) > 1 {
		return set[1:]
	}
	return nil
}

// The most in one sync: so many bases, or about so many bytes.
const (
	syncBases = 256
	syncBytes = 1 << 20
)

// sync brings a backup the bases of this epoch, until it has confirmed them.
func (a *activation) sync(ctx context.Context, m ring.Member, chosen []Held) {
	var bases []Base
	size := 0
	send := func() {
		a.repeat(ctx, "sync", m, func(func()) error { return a.service.peers.Sync(ctx, m, a.epoch, bases) })
		bases, size = nil, 0
	}
	for len(chosen) > 0 {
		n := min(len(chosen), syncBases-len(bases))
		if !a.holds(m, chosen[0]) {
			n = 1 // its data may be all that fits
		}
		for i := 1; i < n; i++ {
			if !a.holds(m, chosen[i]) {
				n = i
			}
		}
		for _, b := range a.bases(m, chosen[:n]) {
			bases = append(bases, b)
			size += len(b.Data)
		}
		if chosen = chosen[n:]; len(bases) == syncBases || size >= syncBytes {
			send()
		}
	}
	if len(bases) > 0 {
		send()
	}
}

// bases is what a backup needs of copies: nothing but the name of one that it said it
// holds.
func (a *activation) bases(m ring.Member, chosen []Held) []Base {
	var (
		mu   sync.Mutex
		list = make([]Base, 0, len(chosen))
	)
	a.visitAll(chosen, func(_ *shard, p *partition, h Held) {
		b := Base{Held: h, Log: p.m.Seq()}
		if !a.holds(m, h) || p.m.Quarantined(a.service.clock()) > 0 {
			b.Data = p.m.Encode(a.service.clock())
		}
		mu.Lock()
		list = append(list, b)
		mu.Unlock()
	})
	return list
}

// holds: the member said that it holds just this copy. Everybody holds the empty
// copy of epoch 0.
func (a *activation) holds(m ring.Member, chosen Held) bool {
	for i := range a.answers {
		if a.answers[i].member.Identity == m.Identity {
			h, ok := a.answers[i].held[chosen.Partition]
			return ok && h == chosen || !ok && chosen.Have == 0
		}
	}
	return false
}

// tellAll is G1: the members drop their older copies, until all have confirmed.
func (a *activation) tellAll(ctx context.Context) {
	var wg sync.WaitGroup
	for _, m := range a.view.Members {
		if m.Identity == a.service.self {
			continue
		}
		wg.Go(func() {
			a.repeat(ctx, "active", m, func(func()) error {
				return a.service.peers.Active(ctx, m, a.epoch, a.owned)
			})
		})
	}
	wg.Wait()
}

// repeat calls fn until it succeeds or a newer view ends the activation. It waits
// for the member all the while (V6), unless that answers, if only to refuse; fn
// tells of other progress.
func (a *activation) repeat(ctx context.Context, what string, m ring.Member, fn func(progress func()) error) {
	w := &wait{member: m.Identity}
	progress := func() { a.service.waits.note(w, a.service.clock()) }
	progress()
	defer a.service.waits.end(w)
	pause := retryFirst
	for ctx.Err() == nil {
		err := fn(progress)
		if err == nil {
			return
		}
		if errors.Is(err, ErrRefused) || errors.Is(err, ErrBehind) {
			progress()
		}
		if errors.Is(err, ErrRefused) && ctx.Err() == nil {
			a.service.log.Warn("activation is refused", "call", what, "member", m.Name, "epoch", a.epoch, "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		pause = min(pause*2, retryMost)
	}
}
