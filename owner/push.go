package owner

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/sgkandale/sharelock/internal/wake"
	"github.com/sgkandale/sharelock/owner/machine"
	"github.com/sgkandale/sharelock/ring"
)

// An outgoing is a base on its way to a backup.
type outgoing struct {
	held Held
	// base is the piece to send next. encoded is set if base has its data, or is only the name of a
	// copy that the backup holds.
	base    Base
	encoded bool
	// position is where the piece after base begins.
	position []byte
	refusal
}

// A pusher gives one backup the bases of this epoch (step 4).
type pusher struct {
	a      *activation
	member ring.Member
	// left is the number of bases that the backup has not confirmed. After activation.start only
	// run uses it and the lists below.
	left int
	// names are the bases that the backup holds already, copies those whose data it needs, and
	// resting those that it has refused.
	names, copies, resting []*outgoing

	wake  wake.Signal
	mu    sync.Mutex
	added []Held // guarded by mu
}

func newPusher(a *activation, m ring.Member) *pusher {
	return &pusher{a: a, member: m, wake: wake.New()}
}

// add queues bases, which have been stamped.
func (b *pusher) add(list []Held) {
	b.mu.Lock()
	b.added = append(b.added, list...)
	b.mu.Unlock()
	b.wake.Set()
}

// run sends bases until the backup has confirmed all, or a newer view has come.
func (b *pusher) run(ctx context.Context) {
	var w *stall
	pause := retryFirst
	for b.left > 0 && ctx.Err() == nil {
		b.collect()
		batch := b.batch(ctx)
		if len(batch) == 0 {
			if w != nil {
				b.a.service.stalls.end(w)
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
			b.a.service.stalls.progress(w, b.a.service.clock())
		}
	}
	if w != nil {
		b.a.service.stalls.end(w)
	}
	for _, g := range b.resting {
		g.end(b.a)
	}
}

// collect queues the bases that were added, and those that have rested long enough.
func (b *pusher) collect() {
	b.mu.Lock()
	added := b.added
	b.added = nil
	b.mu.Unlock()
	fresh := make([]*outgoing, 0, len(added))
	for _, h := range added {
		fresh = append(fresh, &outgoing{held: h})
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

// name fills in the names of bases. The backup needs no data of a copy that it said it holds.
func (b *pusher) name(list []*outgoing) {
	held := make([]Held, len(list))
	by := make(map[uint32]*outgoing, len(list))
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
func (b *pusher) put(list []*outgoing) {
	for _, g := range list {
		if g.base.Same {
			b.names = append(b.names, g)
		} else {
			b.copies = append(b.copies, g)
		}
	}
}

// batch takes the bases for one message from the queues: names first, then one piece each of some
// copies.
func (b *pusher) batch(ctx context.Context) []*outgoing {
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

// encode encodes the next piece unless that has been done. A piece that was sent is kept until it
// is confirmed, since the copy may have forgotten request ids in the meantime. After a newer view
// has come encode does nothing.
//
// It does one step, and further ones while the piece stays within most bytes.
func (b *pusher) encode(g *outgoing, most int) (err error) {
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

// appendPiece appends the data of one step to a piece of at most most bytes.
func appendPiece(piece, data []byte, most int) []byte {
	if piece == nil {
		return data
	}
	if cap(piece)-len(piece) < len(data) {
		piece = slices.Grow(piece, max(most-len(piece), len(data)))
	}
	return append(piece, data...)
}

// results handles the backup's answers about a batch, and reports whether any base made progress.
func (b *pusher) results(ctx context.Context, batch []*outgoing, taken []Taken) (progress bool) {
	var done []uint32
	var back []*outgoing
	for i, g := range batch {
		t := &taken[i]
		switch {
		case t.Partition != g.held.Partition:
			b.rests(ctx, g, errWrongPieces) // the answer says nothing about this base
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
		default: // this piece must be sent again
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

// restart starts again with the first piece.
func (g *outgoing) restart() {
	if !g.base.Same {
		g.base.Number, g.base.Data, g.base.Last, g.position, g.encoded = 0, nil, false, nil, false
	}
}

// refused handles a base that the backup has refused.
func (b *pusher) refused(ctx context.Context, g *outgoing, t *Taken) {
	if t.Next == 0 {
		g.restart()
	}
	b.rests(ctx, g, fmt.Errorf("%w: %s", ErrRefused, t.Why))
}

// rests lets a base rest that made no progress (V6). The others do not wait for it.
func (b *pusher) rests(ctx context.Context, g *outgoing, why error) {
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
