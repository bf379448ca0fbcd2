package journal

import (
	"time"

	"github.com/sgkandale/sharelock/owner/ops"
)

// A Pen is what one shard writes with. It is not safe for concurrent use. A nil Pen writes nothing.
type Pen struct {
	journal *Journal
	buf     []byte
	// at is the time of what is being written; 0 is not known yet.
	at int64
	// torn is set if records were lost, so that what follows is not complete before Resume.
	torn bool
	// failures is Journal.failures as it was when all was well.
	failures uint64
}

// Pen returns a pen for a shard, or nil for a nil journal.
func (j *Journal) Pen() *Pen {
	if j == nil {
		return nil
	}
	return &Pen{journal: j}
}

// A Place is a place in the log of a partition.
type Place struct {
	Partition, Epoch uint32
	Seq              uint64
}

// A Base is where the log of an epoch begins, and how.
type Base struct {
	Seq uint64
	// Lost is set if the state before was lost.
	Lost bool
	// Owner is set if the member is the owner in the epoch.
	Owner bool
}

func (p *Pen) now() int64 {
	if p.at == 0 {
		p.at = time.Now().UnixMicro()
	}
	return p.at
}

// Decided records ops that this member has decided as the owner; the last has the place at.
func (p *Pen) Decided(at Place, list []ops.Op) {
	if p == nil {
		return
	}
	r := record{kind: applied, owner: true, partition: at.Partition, epoch: at.Epoch, seq: at.Seq - uint64(len(list))}
	for i := range list {
		if r.seq++; wanted(list[i].Kind) && list[i].Size() < maxRecord/2 {
			r.at = p.now()
			p.buf = appendOp(p.buf, &r, &list[i])
		}
	}
}

// Followed records an encoded op that this member has applied as a backup.
func (p *Pen) Followed(at Place, op []byte) {
	if p == nil || len(op) == 0 || !wanted(ops.Kind(op[0])) || len(op) > maxRecord/2 {
		return
	}
	r := record{kind: applied, partition: at.Partition, epoch: at.Epoch, seq: at.Seq, at: p.now(), op: op}
	p.buf = r.append(p.buf)
}

// Begin records that the copy follows an epoch from its base on.
func (p *Pen) Begin(partition, epoch uint32, b Base) {
	p.mark(record{kind: follows, partition: partition, epoch: epoch, seq: b.Seq, base: b.Seq, lost: b.Lost, owner: b.Owner})
}

// End records that the copy does not follow the epoch any more, after the op at the place.
func (p *Pen) End(at Place) {
	p.mark(record{kind: stopped, partition: at.Partition, epoch: at.Epoch, seq: at.Seq})
}

// Torn reports whether records were lost. Then what has not been handed to the journal is dropped, and
// the shard calls Resume for each partition whose copy follows an epoch, and Tear for each other.
func (p *Pen) Torn() bool {
	if p == nil {
		return false
	}
	if f := p.journal.failures.Load(); f != p.failures {
		p.failures, p.torn = f, true
	}
	if p.torn {
		p.buf = p.buf[:0]
	}
	return p.torn
}

// Tear records that something may be missing of a partition whose copy follows no epoch.
func (p *Pen) Tear(partition uint32) { p.mark(record{kind: torn, partition: partition}) }

// Resume records that nothing is missing after the op at the place.
func (p *Pen) Resume(at Place, b Base) {
	p.mark(record{kind: resumes, partition: at.Partition, epoch: at.Epoch, seq: at.Seq, base: b.Seq, lost: b.Lost, owner: b.Owner})
}

func (p *Pen) mark(r record) {
	if p == nil {
		return
	}
	r.at = p.now()
	p.buf = r.append(p.buf)
}

// Flush hands everything to the journal. It does not wait.
func (p *Pen) Flush() {
	if p == nil || len(p.buf) == 0 {
		return
	}
	p.torn = !p.journal.take(p.buf)
	p.buf, p.at = p.buf[:0], 0
	if cap(p.buf) > penRoom {
		p.buf = nil
	}
}

// penRoom is the largest capacity that a pen keeps.
const penRoom = 256 << 10
