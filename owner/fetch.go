package owner

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/sgkandale/sharelock/owner/machine"
	"github.com/sgkandale/sharelock/owner/ops"
	"github.com/sgkandale/sharelock/ring"
)

// errWrongPieces means that a member answered with other pieces than it was asked for.
var errWrongPieces = fmt.Errorf("%w: %w: the pieces differ from those requested", ErrRefused, ops.ErrMalformed)

// errNotHeld means that a member does not hold the copy that it said it holds.
var errNotHeld = fmt.Errorf("%w: it does not hold the copy that was chosen", ErrRefused)

// An incoming is a copy on its way from another member.
type incoming struct {
	want Want
	// into has the pieces so far. It is nil once the copy is complete.
	into *machine.Assembler
	refusal
}

// begin starts, or starts again, with the first piece.
func (c *incoming) begin(a *activation) {
	c.want.Position, c.into = nil, machine.NewAssembler(c.want.Partition, a.service.waiters)
}

// pull fetches the chosen copies that member m has (step 4), a few pieces per call, and offers each
// to its backups as soon as it is complete. The copies take turns, so that a large one does not
// delay the others. It returns when all are here or a newer view has come.
func (a *activation) pull(ctx context.Context, m ring.Member, chosen []Held) {
	queue := make([]*incoming, len(chosen))
	for i, h := range chosen {
		queue[i] = &incoming{want: Want{Held: h}}
		queue[i].begin(a)
	}
	w := a.await(m)
	defer func() {
		a.service.stalls.end(w)
		for _, c := range queue {
			c.end(a)
		}
	}()
	pause := retryFirst
	for len(queue) > 0 && ctx.Err() == nil {
		asked, rested := a.next(queue)
		if len(asked) == 0 {
			a.service.stalls.progress(w, a.service.clock()) // refused copies have stalls of their own
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
			a.service.stalls.progress(w, a.service.clock())
			if asked[i].into == nil {
				whole = append(whole, asked[i].want.Held)
			}
		}
		queue = requeue(queue, asked[:len(pieces)])
		a.offer(whole)
	}
}

// next returns the copies to ask for, or none and how long to rest if all have been refused.
func (a *activation) next(queue []*incoming) (asked []*incoming, rested time.Duration) {
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

// requeue moves the copies that have just had their turn to the end of the queue, and removes
// those that are complete.
func requeue(queue, had []*incoming) []*incoming {
	turned := make(map[*incoming]bool, len(had))
	for _, c := range had {
		turned[c] = true
	}
	queue = slices.DeleteFunc(queue, func(c *incoming) bool { return turned[c] })
	for _, c := range had {
		if c.into != nil {
			queue = append(queue, c)
		}
	}
	return queue
}

// took adds the next piece to a copy. The last piece makes it the partition's copy.
func (a *activation) took(c *incoming, piece *Piece) error {
	switch {
	case piece.Partition != c.want.Partition:
		return errWrongPieces
	case piece.Missing:
		return errNotHeld
	case piece.Why != "":
		// Perhaps the position was wrong.
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
	if err != nil { // start again
		a.service.checkKnown(c.want.Partition, err)
		c.begin(a)
		return err
	}
	c.into = nil
	a.visit(c.want.Partition, func(sh *shard, p *partition) { sh.replace(p, copied, a.epoch) })
	return nil
}
