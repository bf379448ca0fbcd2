package owner

import "github.com/sgkandale/sharelock/owner/journal"

// place returns where the log of a partition is.
func (sh *shard) place(p *partition) journal.Place {
	return journal.Place{Partition: p.id, Epoch: sh.epoch, Seq: p.m.Seq()}
}

// beginRecord tells the journal that a copy follows the epoch from where it is now, if it has not been
// told so. from is the epoch of the copy that it was, or 0 if there was none.
func (sh *shard) beginRecord(p *partition, from uint32) {
	if sh.pen == nil || p.recorded || p.broken {
		return
	}
	p.recorded = true
	p.base = journal.Base{Seq: p.m.Seq(), From: from, Lost: p.m.BeganLost(), Owner: p.owned}
	sh.pen.Begin(p.id, sh.epoch, p.base)
}

// endRecord tells the journal that a copy does not follow an epoch any more.
func (sh *shard) endRecord(p *partition, epoch uint32) {
	if p.recorded {
		p.recorded = false
		sh.pen.End(journal.Place{Partition: p.id, Epoch: epoch, Seq: p.m.Seq()})
	}
}

// recordLast records the last n ops that the owner of a partition has decided.
func (sh *shard) recordLast(p *partition, n int) {
	if sh.pen == nil {
		return
	}
	at := sh.place(p)
	for i := n - 1; i >= 0; i-- {
		sh.pen.Encoded(journal.Place{Partition: p.id, Epoch: at.Epoch, Seq: at.Seq - uint64(i)}, true, *p.log.ops.At(p.log.ops.Len() - 1 - i))
	}
}

// flushRecords hands what was recorded to the journal. If something was lost, the journal is told from
// where on it is complete again.
func (sh *shard) flushRecords() {
	if sh.pen.Torn() {
		for _, p := range sh.parts {
			if p.recorded {
				sh.pen.Resume(sh.place(p), p.base)
			} else {
				sh.pen.Tear(p.id)
			}
		}
	}
	sh.pen.Flush()
}
