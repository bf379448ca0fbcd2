package owner

import (
	"fmt"
	"sync"

	"github.com/sgkandale/sharelock/owner/mutant"
	"github.com/sgkandale/sharelock/ring"
)

// Base is a copy that an owner gives to its backups as the base of an epoch
// (section 4.4).
type Base struct {
	// Held is the copy that was chosen, by the epoch and sequence number under
	// which a member that has it already knows it.
	Held
	// Data is the encoded copy; nil for a backup that said it holds just that.
	Data []byte
	// Log is where the log of the epoch begins: the copy's own sequence number.
	Log uint64
}

// Sync takes bases from the owner of their partitions. It returns when all are
// in place: then this member has them synced in epoch. It fails with [ErrBehind]
// in any other epoch (A1).
func (s *Service) Sync(from ring.Identity, epoch uint32, bases []Base) error {
	var mu sync.Mutex
	var first error
	var wg sync.WaitGroup
	for _, b := range bases {
		if int(b.Partition) >= s.partitions {
			return fmt.Errorf("%w: partition %d", ErrMalformed, b.Partition)
		}
		sh := s.shard(b.Partition)
		wg.Add(1)
		if !sh.put(item{fn: func() {
			defer wg.Done()
			if err := sh.sync(from, epoch, b); err != nil {
				mu.Lock()
				first = err
				mu.Unlock()
			}
		}}) {
			wg.Done()
			return ErrBehind
		}
	}
	wg.Wait()
	return first
}

// errNoSuchCopy: the owner thought that this backup holds a copy that it does
// not.
var errNoSuchCopy = fmt.Errorf("%w: not the copy that the owner means", ErrDiverged)

func (sh *shard) sync(from ring.Identity, epoch uint32, b Base) error {
	p := sh.part(b.Partition)
	switch {
	case sh.epoch != epoch || sh.service.cur.Load() != epoch:
		return ErrBehind
	case p.owner != from || !p.backup:
		return fmt.Errorf("%w: %v does not own partition %d, or this is no backup of it", ErrDiverged, from, p.id)
	case p.have == epoch:
		// Said again, since the answer was lost: whatever came after the base has
		// been acknowledged as ops.
		return nil
	case b.Data == nil && p.m == nil && b.Have == 0:
		sh.replace(p, NewMachine(p.id, sh.service.waiters), epoch)
	case b.Data == nil:
		if p.m == nil || p.have != b.Have || p.m.Seq() != b.Seq || b.Seq != b.Log {
			return errNoSuchCopy
		}
		p.have = epoch
	default:
		m := NewMachine(p.id, sh.service.waiters)
		if err := m.Decode(sh.service.clock(), b.Data); err != nil {
			return err
		}
		if m.Seq() != b.Log {
			return errNoSuchCopy
		}
		sh.replace(p, m, epoch)
	}
	sh.rearm(p)
	return nil
}

// Backup applies an owner's ops to the copies here and acknowledges what they
// have then (A3). It does not wait: acks come to answer, in the turns of the
// shards. Ops of another epoch than the current one are dropped without a word:
// their owner has stopped, or will hear of the newer view.
func (s *Service) Backup(from ring.Identity, epoch uint32, entries []Entries, answer func(epoch uint32, a Ack)) {
	s.byShard(len(entries), func(i int) uint32 { return entries[i].Partition }, func(sh *shard, i int) {
		if ack, ok := sh.follow(from, epoch, entries[i]); ok {
			answer(epoch, ack)
		}
	})
}

// follow applies consecutive ops: only in the current epoch, on a copy synced in
// it, the next sequence number first. What is there already is acknowledged
// again; after a gap the rest is asked for.
func (sh *shard) follow(from ring.Identity, epoch uint32, e Entries) (Ack, bool) {
	p := sh.part(e.Partition)
	synced := p.have == epoch || mutant.On(mutant.SyncNotAwaited) && p.m != nil
	if sh.epoch != epoch || sh.service.cur.Load() != epoch || !synced || !p.backup || p.owner != from || p.broken {
		return Ack{}, false
	}
	if mutant.On(mutant.AcceptGap) && e.First > p.m.Seq()+1 {
		p.m.seq = e.First - 1
	}
	if e.First > p.m.Seq()+1 {
		return Ack{Partition: p.id, Seq: p.m.Seq(), Gap: true}, true
	}
	now, ops := sh.now, e.Ops
	for seq := e.First; len(ops) > 0; seq++ {
		var op Op
		rest, err := op.Decode(ops)
		if err == nil && seq > p.m.Seq() {
			if op.Kind != OpRead {
				sh.done++
			}
			err = p.m.Apply(now, &op)
		}
		if err != nil {
			// Not acknowledged, so the owner promises nothing more in this epoch. The
			// copy stays: what it has was acknowledged, and a member without it would
			// be taken for a proof that there was nothing (section 4.2). A new epoch
			// begins with equal copies again.
			sh.service.log.Error("copy differs from its owner's", "partition", p.id, "epoch", epoch, "seq", seq, "error", err)
			p.broken = true
			sh.service.refresh.Store(true)
			return Ack{}, false
		}
		ops = rest
	}
	sh.rearm(p)
	return Ack{Partition: p.id, Seq: p.m.Seq()}, true
}
