package owner

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/sgkandale/sharelock/owner/journal"
	"github.com/sgkandale/sharelock/owner/machine"
	"github.com/sgkandale/sharelock/owner/ops"
	"github.com/sgkandale/sharelock/ring"
)

// Sync takes pieces of bases from the owner of their partitions and returns what has become of
// each, in the same order. It fails with [ErrBehind] in any other epoch (A1).
//
// Pieces are decoded in the caller's goroutine, into a machine that becomes the partition's copy
// when it is complete. Only bases without data are handled in a shard's turn.
func (s *Service) Sync(from ring.Identity, epoch uint32, bases []Base) ([]Taken, error) {
	if s.cur.Load() != epoch {
		return nil, ErrBehind
	}
	taken := make([]Taken, len(bases))
	s.syncNames(from, epoch, bases, taken)
	for i := range bases {
		b := &bases[i]
		taken[i].Partition = b.Partition
		var err error
		switch {
		case int(b.Partition) >= s.partitions:
			err = fmt.Errorf("%w: partition %d", ops.ErrMalformed, b.Partition)
		case !b.Same:
			err = s.syncPiece(from, epoch, b, &taken[i])
		}
		if err != nil {
			taken[i].Why = err.Error()
		}
	}
	if s.cur.Load() != epoch {
		return nil, ErrBehind
	}
	return taken, nil
}

// syncNames makes copies that this member has already the bases of an epoch.
func (s *Service) syncNames(from ring.Identity, epoch uint32, bases []Base, taken []Taken) {
	lists := make([][]int, len(s.shards))
	for i := range bases {
		if b := &bases[i]; b.Same && int(b.Partition) < s.partitions {
			lists[int(b.Partition)%len(s.shards)] = append(lists[int(b.Partition)%len(s.shards)], i)
		}
	}
	var wg sync.WaitGroup
	for i, list := range lists {
		if len(list) == 0 {
			continue
		}
		sh := s.shards[i]
		wg.Add(1)
		if !sh.put(item{fn: func(*shard) {
			defer wg.Done()
			for _, j := range list {
				if err := sh.syncName(from, epoch, &bases[j]); err != nil {
					taken[j].Why = err.Error()
				} else {
					taken[j].Done = true
				}
			}
		}}) {
			wg.Done()
		}
	}
	wg.Wait()
}

// errNoSuchCopy means that the owner assumed that this backup has a copy that it does not have.
var errNoSuchCopy = fmt.Errorf("%w: this is not the copy that the owner refers to", ops.ErrDiverged)

// mayBase returns an error unless the member may give this backup the base of the partition.
func (sh *shard) mayBase(from ring.Identity, epoch uint32, p *partition) error {
	switch {
	case sh.epoch != epoch || sh.service.cur.Load() != epoch:
		return ErrBehind
	case p.owner != from || !p.backup:
		return fmt.Errorf("%w: %v does not own partition %d, or this member is not a backup of it", ops.ErrDiverged, from, p.id)
	}
	return nil
}

func (sh *shard) syncName(from ring.Identity, epoch uint32, b *Base) error {
	p := sh.part(b.Partition)
	if err := sh.mayBase(from, epoch, p); err != nil {
		return err
	}
	switch {
	case p.have == epoch:
		// A repetition, because the answer was lost. What came after the base was acknowledged as
		// ops.
	case p.m == nil && b.Have == 0:
		sh.replace(p, machine.New(p.id, sh.service.waiters), epoch)
	case p.m == nil || p.have != b.Have || p.m.Seq() != b.Seq || b.Seq != b.Log:
		return errNoSuchCopy
	default:
		p.have = epoch
	}
	sh.beginRecord(p, b.Have)
	sh.rearm(p)
	return nil
}

// A staged is a base of which pieces are missing.
type staged struct {
	mu sync.Mutex
	// next is the number of the piece that comes next; guarded by mu.
	next uint32
	into *machine.Assembler // guarded by mu
}

// syncPiece takes one piece of a base. A piece that has come before, whose answer was lost, is only
// answered again.
func (s *Service) syncPiece(from ring.Identity, epoch uint32, b *Base, t *Taken) error {
	st, err := s.stage(from, epoch, b)
	if st == nil {
		t.Done = err == nil
		return err
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	if t.Next = st.next; b.Number != st.next {
		return nil
	}
	m, err := st.take(s.clock(), b)
	s.checkKnown(b.Partition, err)
	if m == nil && err == nil {
		t.Next = st.next
		return nil
	}
	over := s.inShard(b.Partition, func(sh *shard, p *partition) {
		if err == nil {
			err = sh.mayBase(from, epoch, p)
		}
		if p.staged == st {
			p.staged = nil
			if err == nil && p.have != epoch {
				sh.replace(p, m, epoch)
				sh.beginRecord(p, b.Have)
				sh.rearm(p)
			}
		}
	})
	if !over {
		err = ErrBehind
	}
	t.Next, t.Done = 0, err == nil
	return err
}

// stage returns what has come of a base, or nil if the complete base is in place.
func (s *Service) stage(from ring.Identity, epoch uint32, b *Base) (st *staged, err error) {
	if !s.inShard(b.Partition, func(sh *shard, p *partition) {
		if err = sh.mayBase(from, epoch, p); err != nil || p.have == epoch {
			return
		}
		if p.staged == nil {
			p.staged = &staged{into: machine.NewAssembler(p.id, s.waiters)}
		}
		st = p.staged
	}) {
		err = ErrBehind
	}
	return st, err
}

// take decodes the next piece. It returns the copy if that was the last piece.
func (st *staged) take(now time.Duration, b *Base) (*machine.Machine, error) {
	if err := st.into.Add(now, b.Data); err != nil {
		return nil, err
	}
	st.next++
	if !b.Last {
		return nil, nil
	}
	m, err := st.into.Machine()
	if err == nil && m.Seq() != b.Log {
		err = errNoSuchCopy
	}
	return m, err
}

// Backup applies an owner's ops to the copies here and acknowledges what they have then (A3). It
// does not wait: answer is called in the turns of the shards. Ops of another epoch than the current
// one are dropped without an answer: their owner has stopped, or will learn of the newer view.
func (s *Service) Backup(from ring.Identity, epoch uint32, entries []Entries, answer func(epoch uint32, a Ack)) {
	byShard(s, entries, func(e *Entries) uint32 { return e.Partition }, func(sh *shard, e *Entries) {
		spans := sh.traces.backUp(epoch, e)
		ack, ok := sh.follow(from, epoch, e)
		backedUp(spans, ok)
		if ok {
			answer(epoch, ack)
		}
	})
}

// checkKnown calls Config.Unknown if this program is too old for an op or a copy (W3).
func (s *Service) checkKnown(partition uint32, err error) {
	if errors.Is(err, ops.ErrUnknown) && s.unknown != nil {
		s.unknown(fmt.Errorf("partition %d: %w", partition, err))
	}
}

// follow applies consecutive ops. It does so only in the current epoch, to a copy that was synced
// in it, and beginning with the next sequence number. Ops that the copy has already are
// acknowledged again; after a gap the missing ops are asked for.
func (sh *shard) follow(from ring.Identity, epoch uint32, e *Entries) (Ack, bool) {
	p := sh.part(e.Partition)
	synced := p.have == epoch
	if sh.epoch != epoch || sh.service.cur.Load() != epoch || !synced || !p.backup || p.owner != from || p.broken {
		return Ack{}, false
	}
	if e.First > p.m.Seq()+1 {
		return Ack{Partition: p.id, Seq: p.m.Seq(), Gap: true}, true
	}
	now, left := sh.now, e.Ops
	for seq := e.First; len(left) > 0; seq++ {
		var op ops.Op
		rest, err := op.Decode(left)
		if err == nil && seq > p.m.Seq() {
			if op.Kind != ops.Read {
				sh.done++
			}
			if op.Early(sh.release) {
				err = ops.Unknown("%v in a view of release %d", op.Kind, sh.release)
			} else {
				err = p.m.Apply(now, &op)
			}
			if err == nil {
				sh.pen.Encoded(journal.Place{Partition: p.id, Epoch: epoch, Seq: seq}, false, left[:len(left)-len(rest)])
			}
		}
		if err != nil {
			// The op is not acknowledged, so the owner promises nothing more in this epoch. The
			// copy stays: its ops were acknowledged, and a member without a copy would count as
			// evidence that there was nothing (section 4.2). A new epoch begins with equal copies.
			sh.service.log.Error("copy differs from its owner's", "partition", p.id, "epoch", epoch, "seq", seq, "error", err)
			p.broken = true
			sh.endRecord(p, epoch)
			if sh.service.checkKnown(p.id, err); !errors.Is(err, ops.ErrUnknown) {
				sh.service.refresh.Store(true) // what is unknown would be so in a new epoch, too
			}
			return Ack{}, false
		}
		left = rest
	}
	p.m.Tidy()
	sh.saw(p.m)
	sh.rearm(p)
	return Ack{Partition: p.id, Seq: p.m.Seq()}, true
}
