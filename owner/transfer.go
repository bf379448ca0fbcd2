package owner

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/sgkandale/sharelock/owner/machine"
	"github.com/sgkandale/sharelock/owner/ops"
	"github.com/sgkandale/sharelock/ring"
)

// errWrongPieces: a member answered with other pieces than it was asked for.
var errWrongPieces = fmt.Errorf("%w: %w: the pieces differ from those requested", ErrRefused, ops.ErrMalformed)

// errNotHeld: a member does not hold the copy that it said it holds.
var errNotHeld = fmt.Errorf("%w: it does not hold the copy that was chosen", ErrRefused)

// coming is a copy on its way from another member.
type coming struct {
	want Want
	// into is nil once the copy is whole.
	into *machine.Assembler
	stall
}

// begin begins with the first piece.
func (c *coming) begin(a *activation) {
	c.want.Position, c.into = nil, machine.NewAssembler(c.want.Partition, a.service.waiters)
}

// stall is the state of something that a member refuses; the zero value is that it does
// not. A refusal that goes on is no progress (V6), and nothing else waits for it.
type stall struct {
	refused *wait
	// until is when it is tried again, after pause.
	until time.Duration
	pause time.Duration
}

// refuse notes one more refusal, and reports whether it is the first.
func (s *stall) refuse(a *activation, m ring.Member) (first bool) {
	if first = s.refused == nil; first {
		s.refused, s.pause = a.await(m), retryFirst
	}
	s.until = a.service.clock() + s.pause
	s.pause = min(s.pause*2, retryMost)
	return first
}

// end notes that there is no refusal any more.
func (s *stall) end(a *activation) {
	if s.refused != nil {
		a.service.waits.end(s.refused)
		*s = stall{}
	}
}

// pull takes copies that are elsewhere (step 4), a few pieces per call, and offers each
// to its backups as soon as it is whole. All take turns, so that a large one does not
// hold up the others. It ends when all are here or a newer view came.
func (a *activation) pull(ctx context.Context, m ring.Member, chosen []Held) {
	queue := make([]*coming, len(chosen))
	for i, h := range chosen {
		queue[i] = &coming{want: Want{Held: h}}
		queue[i].begin(a)
	}
	w := a.await(m)
	defer func() {
		a.service.waits.end(w)
		for _, c := range queue {
			c.end(a)
		}
	}()
	pause := retryFirst
	for len(queue) > 0 && ctx.Err() == nil {
		asked, rested := a.next(queue)
		if len(asked) == 0 {
			a.service.waits.note(w, a.service.clock()) // the refused ones have waits of their own
			rest(ctx, rested)
			continue
		}
		wants := make([]Want, len(asked))
		for i, c := range asked {
			wants[i] = c.want
		}
		pieces, err := a.service.peers.Fetch(ctx, m, a.epoch, wants)
		if err == nil && (len(pieces) == 0 || len(pieces) > len(asked)) {
			err = errWrongPieces
		}
		if err != nil {
			a.failed(ctx, "fetch", m, err)
			rest(ctx, pause)
			pause = min(pause*2, retryMost)
			continue
		}
		pause = retryFirst
		var whole []Held
		for i := range pieces {
			if bad := a.took(asked[i], &pieces[i]); bad != nil {
				if asked[i].refuse(a, m) {
					a.failed(ctx, "fetch", m, bad)
				}
				continue
			}
			asked[i].end(a)
			a.service.waits.note(w, a.service.clock())
			if asked[i].into == nil {
				whole = append(whole, asked[i].want.Held)
			}
		}
		queue = requeue(queue, asked[:len(pieces)])
		a.offer(whole)
	}
}

// next returns the copies to ask for, and how long to rest if all have been refused.
func (a *activation) next(queue []*coming) (asked []*coming, rested time.Duration) {
	now := a.service.clock()
	rested = retryMost
	for _, c := range queue {
		switch {
		case c.refused != nil && c.until > now:
			rested = min(rested, c.until-now)
		case len(asked) < MaxBatch:
			asked = append(asked, c)
		}
	}
	return asked, rested
}

// requeue moves the copies that have just had their turn to the end of the queue, and
// takes those out that are whole.
func requeue(queue, had []*coming) []*coming {
	turned := make(map[*coming]bool, len(had))
	for _, c := range had {
		turned[c] = true
	}
	queue = slices.DeleteFunc(queue, func(c *coming) bool { return turned[c] })
	for _, c := range had {
		if c.into != nil {
			queue = append(queue, c)
		}
	}
	return queue
}

// took takes the next piece of a copy.
func (a *activation) took(c *coming, piece *Piece) error {
	switch {
	case piece.Partition != c.want.Partition:
		return errWrongPieces
	case piece.Missing:
		return errNotHeld
	case piece.Why != "":
		// The position may be what is wrong.
		c.begin(a)
		return fmt.Errorf("%w: %s", ErrRefused, piece.Why)
	}
	err := c.into.Add(a.service.clock(), piece.Data)
	c.want.Position = piece.Position
	if err == nil && !piece.Last {
		return nil
	}
	var copied *machine.Machine
	if err == nil {
		copied, err = c.into.Machine()
	}
	if err == nil && copied.Seq() != c.want.Seq {
		err = errWrongPieces
	}
	if err != nil { // begun anew
		a.service.checkKnown(c.want.Partition, err)
		c.begin(a)
		return err
	}
	c.into = nil
	a.visit(c.want.Partition, func(sh *shard, p *partition) { sh.replace(p, copied, a.epoch) })
	return nil
}

// going is a base on its way to a backup.
type going struct {
	held Held
	// base is the piece to send next. It has been encoded if it has data or is the name
	// of a copy.
	base    Base
	encoded bool
	// position is where the piece after base begins.
	position []byte
	stall
}

// pusher brings one backup the bases of this epoch.
type pusher struct {
	a      *activation
	member ring.Member
	// left is how many bases the backup has not confirmed. After start it belongs to run,
	// as does what follows.
	left int
	// names are bases that the backup holds, copies those whose data it needs, resting
	// those that it has refused.
	names, copies, resting []*going

	wake  chan struct{}
	mu    sync.Mutex
	added []Held // guarded by mu
}

func newPusher(a *activation, m ring.Member) *pusher {
	return &pusher{a: a, member: m, wake: make(chan struct{}, 1)}
}

// add queues bases, which are stamped.
func (b *pusher) add(list []Held) {
	b.mu.Lock()
	b.added = append(b.added, list...)
	b.mu.Unlock()
	poke(b.wake)
}

func poke(wake chan struct{}) {
	select {
	case wake <- struct{}{}:
	default:
	}
}

// run sends bases until the backup has confirmed all, or a newer view came.
func (b *pusher) run(ctx context.Context) {
	var w *wait
	pause := retryFirst
	for b.left > 0 && ctx.Err() == nil {
		b.collect()
		batch := b.batch(ctx)
		if len(batch) == 0 {
			if w != nil {
				b.a.service.waits.end(w)
				w = nil
			}
			b.idle(ctx)
			continue
		}
		if w == nil {
			w = b.a.await(b.member)
		}
		bases := make([]Base, len(batch))
		for i, g := range batch {
			bases[i] = g.base
		}
		taken, err := b.a.service.peers.Sync(ctx, b.member, b.a.epoch, bases)
		if err == nil && len(taken) != len(batch) {
			err = errWrongPieces
		}
		if err != nil {
			b.a.failed(ctx, "sync", b.member, err)
			b.put(batch)
			rest(ctx, pause)
			pause = min(pause*2, retryMost)
			continue
		}
		pause = retryFirst
		if b.results(ctx, batch, taken) {
			b.a.service.waits.note(w, b.a.service.clock())
		}
	}
	if w != nil {
		b.a.service.waits.end(w)
	}
	for _, g := range b.resting {
		g.end(b.a)
	}
}

// collect takes what was added, and what has rested.
func (b *pusher) collect() {
	b.mu.Lock()
	added := b.added
	b.added = nil
	b.mu.Unlock()
	fresh := make([]*going, 0, len(added))
	for _, h := range added {
		fresh = append(fresh, &going{held: h})
	}
	b.name(fresh)
	now := b.a.service.clock()
	still := b.resting[:0]
	for _, g := range b.resting {
		if g.until > now {
			still = append(still, g)
		} else {
			fresh = append(fresh, g)
		}
	}
	b.resting = still
	b.put(fresh)
}

// name finds out how bases are called: the backup needs no data of one that it said it
// holds.
func (b *pusher) name(list []*going) {
	held := make([]Held, len(list))
	by := make(map[uint32]*going, len(list))
	for i, g := range list {
		held[i], by[g.held.Partition] = g.held, g
	}
	b.a.visitAll(held, func(_ *shard, p *partition, h Held) {
		g := by[h.Partition]
		same := b.a.holds(b.member, h) && p.m.Quarantined(b.a.service.clock()) == 0
		g.base = Base{Held: h, Log: p.m.Seq(), Same: same}
		g.encoded = same
	})
}

// put queues bases.
func (b *pusher) put(list []*going) {
	for _, g := range list {
		if g.base.Same {
			b.names = append(b.names, g)
		} else {
			b.copies = append(b.copies, g)
		}
	}
}

// batch takes bases for one message out of the queues: names first, then a piece of
// each of some copies.
func (b *pusher) batch(ctx context.Context) []*going {
	n := min(len(b.names), MaxBatch)
	list := slices.Clone(b.names[:n])
	b.names = slices.Delete(b.names, 0, n)
	size, taken, share := 0, 0, MaxBytes/max(len(b.copies), 1)
	for _, g := range b.copies {
		if len(list) == MaxBatch || size > MaxBytes-machine.StepBytes {
			break
		}
		taken++
		if err := b.encode(g, min(share, MaxBytes-size)); err != nil {
			b.rests(ctx, g, err)
			continue
		}
		if !g.encoded {
			taken--
			break // a newer view came
		}
		size += len(g.base.Data)
		list = append(list, g)
	}
	b.copies = slices.Delete(b.copies, 0, taken)
	return list
}

// encode makes the piece that comes next, unless it is there: one that was sent is kept
// until it is confirmed, since the copy may have forgotten ids meanwhile. Once a newer view
// came it does nothing.
//
// It takes one step, and more as long as the piece has most bytes at most.
func (b *pusher) encode(g *going, most int) (err error) {
	if g.encoded {
		return nil
	}
	piece, at, last, done := []byte(nil), g.position, false, false
	for err == nil && !last && (!done || len(piece) <= most-machine.StepBytes) {
		var data []byte
		done = false
		b.a.visit(g.held.Partition, func(sh *shard, p *partition) {
			data, at, last, err = p.m.Piece(b.a.service.clock(), at, nil)
			sh.saw(p.m)
			done = true
		})
		if !done {
			return nil
		}
		piece = appendPiece(piece, data, most)
	}
	if err == nil {
		g.base.Data, g.position, g.base.Last, g.encoded = piece, at, last, true
	}
	if err != nil {
		b.a.service.log.Error("copy cannot be encoded", "partition", g.held.Partition, "backup", b.member.Name, "error", err)
	}
	return err
}

// appendPiece appends one step's data to those of the steps before, of a piece that has most
// bytes at most.
func appendPiece(piece, data []byte, most int) []byte {
	if piece == nil {
		return data
	}
	if cap(piece)-len(piece) < len(data) {
		piece = slices.Grow(piece, max(most-len(piece), len(data)))
	}
	return append(piece, data...)
}

// results takes note of what has become of bases, and reports whether any came further.
func (b *pusher) results(ctx context.Context, batch []*going, taken []Taken) (progress bool) {
	var done []uint32
	var back []*going
	for i, g := range batch {
		t := &taken[i]
		switch {
		case t.Partition != g.held.Partition:
			b.rests(ctx, g, errWrongPieces) // nothing is known of this one
			continue
		case t.Why != "":
			b.refused(ctx, g, t)
			continue
		case t.Done:
			done = append(done, g.held.Partition)
		case !g.base.Last && t.Next == g.base.Number+1:
			g.base.Number, g.base.Data, g.encoded = t.Next, nil, false
			back = append(back, g)
		case t.Next == 0 && g.base.Number > 0:
			g.restart()
			back = append(back, g)
			continue
		default: // its answer says that this piece must be sent again
			back = append(back, g)
			continue
		}
		progress = true
		g.end(b.a)
	}
	b.put(back)
	b.left -= len(done)
	b.a.confirmed(done)
	return progress
}

// restart begins with the first piece again.
func (g *going) restart() {
	if !g.base.Same {
		g.base.Number, g.base.Data, g.base.Last, g.position, g.encoded = 0, nil, false, nil, false
	}
}

// refused lets a base rest that the backup has refused.
func (b *pusher) refused(ctx context.Context, g *going, t *Taken) {
	if t.Next == 0 {
		g.restart()
	}
	b.rests(ctx, g, fmt.Errorf("%w: %s", ErrRefused, t.Why))
}

// rests lets a base rest that did not come further. That is no progress (V6), and the
// others do not wait for it.
func (b *pusher) rests(ctx context.Context, g *going, why error) {
	if g.refuse(b.a, b.member) {
		b.a.failed(ctx, "sync", b.member, fmt.Errorf("partition %d: %w", g.held.Partition, why))
	}
	b.resting = append(b.resting, g)
}

// idle waits until there may be something to send.
func (b *pusher) idle(ctx context.Context) {
	pause := idleWake
	for _, g := range b.resting {
		pause = min(pause, max(g.until-b.a.service.clock(), 0))
	}
	t := time.NewTimer(pause)
	defer t.Stop()
	select {
	case <-b.wake:
	case <-t.C:
	case <-ctx.Done():
	}
}

// teller is G1 for one member: it tells it of partitions that are active, until it has
// confirmed all of them.
type teller struct {
	a      *activation
	member ring.Member
	wake   chan struct{}

	mu    sync.Mutex
	added []uint32 // guarded by mu
}

// add has the member told of partitions.
func (t *teller) add(partitions []uint32) {
	t.mu.Lock()
	t.added = append(t.added, partitions...)
	t.mu.Unlock()
	poke(t.wake)
}

func (t *teller) run(ctx context.Context) {
	for told := 0; told < len(t.a.owned) && ctx.Err() == nil; {
		list := t.take(ctx, len(t.a.owned)-told)
		if len(list) == 0 {
			continue
		}
		t.a.repeat(ctx, "active", t.member, func() error {
			return t.a.service.peers.Active(ctx, t.member, t.a.epoch, list)
		})
		told += len(list)
	}
}

// take returns partitions to tell of: all that are left, or those of them that are
// active a moment after the first became active. The others may be stuck.
func (t *teller) take(ctx context.Context, left int) (list []uint32) {
	moment := time.NewTimer(headStart)
	defer moment.Stop()
	for {
		t.mu.Lock()
		list = append(list, t.added...)
		t.added = nil
		t.mu.Unlock()
		if len(list) == left {
			return list
		}
		select {
		case <-t.wake:
		case <-moment.C:
			return list
		case <-ctx.Done():
			return nil
		}
	}
}
