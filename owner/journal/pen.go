package journal

import (
	"sync"
	"time"

	"github.com/sgkandale/sharelock/owner/ops"
)

// A Pen writes the records of one shard. It is not safe for concurrent use. A nil Pen writes
// nothing.
type Pen struct {
	journal *Journal
	// buf holds the records since the last Flush.
	buf []byte
	// at is the time of the records in buf; 0 if it is not known yet.
	at int64
	// torn is set if records were lost, so that the record is not complete before Resume.
	torn bool
	// failures is Journal.failures at the last call of Torn.
	failures uint64

	mu sync.Mutex
	// waiting are the records that wait for the writer. spare is another, empty buffer. Guarded by
	// mu.
	waiting, spare []byte
}

// Pen returns a pen for a shard, or nil for a nil journal.
func (j *Journal) Pen() *Pen {
	if j == nil {
		return nil
	}
	p := &Pen{journal: j}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.pens = append(j.pens, p)
	j.share.Store(int64(maxWaiting / len(j.pens)))
	return p
}

// A Place is a place in the log of a partition.
type Place struct {
	Partition, Epoch uint32
	Seq              uint64
}

// A Base is where the log of an epoch begins, and how.
type Base struct {
	Seq uint64
	// From is the epoch of the copy with which the log begins. 0 means no copy: the partition was
	// never used, or its state was lost.
	From uint32
	// Lost is set if the state before was lost, and nothing has been decided since.
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

// Decided records ops that this member has decided as the owner; at is the place of the last one.
func (p *Pen) Decided(at Place, list []ops.Op) {
	if p == nil {
		return
	}
	r := record{kind: applied, owner: true, partition: at.Partition, epoch: at.Epoch, seq: at.Seq - uint64(len(list))}
	for i := range list {
		if r.seq++; wanted(list[i].Kind) && list[i].Size() < maxBody/2 {
			r.at = p.now()
			p.buf = appendOp(p.buf, &r, &list[i])
		}
	}
}

// Encoded records an encoded op that this member has decided as the owner, or has applied as a
// backup.
func (p *Pen) Encoded(at Place, owner bool, op []byte) {
	if p == nil || len(op) == 0 || !wanted(ops.Kind(op[0])) || len(op) > maxBody/2 {
		return
	}
	r := record{kind: applied, owner: owner, partition: at.Partition, epoch: at.Epoch, seq: at.Seq, at: p.now(), op: op}
	p.buf = r.append(p.buf)
}

// Begin records that the copy follows an epoch from its base.
func (p *Pen) Begin(partition, epoch uint32, b Base) {
	p.mark(record{kind: follows, partition: partition, epoch: epoch, seq: b.Seq, base: b.Seq, from: b.From, lost: b.Lost, owner: b.Owner})
}

// End records that the copy no longer follows the epoch after the op at the place.
func (p *Pen) End(at Place) {
	p.mark(record{kind: stopped, partition: at.Partition, epoch: at.Epoch, seq: at.Seq})
}

// Torn reports whether records were lost. If so, it drops what was not flushed yet, and the shard
// has to call Resume for each partition whose copy follows an epoch, and Tear for each other
// partition.
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

// Tear records that records may be missing of a partition whose copy follows no epoch.
func (p *Pen) Tear(partition uint32) { p.mark(record{kind: torn, partition: partition}) }

// Resume records that no record is missing after the op at the place.
func (p *Pen) Resume(at Place, b Base) {
	p.mark(record{kind: resumes, partition: at.Partition, epoch: at.Epoch, seq: at.Seq, base: b.Seq, from: b.From, lost: b.Lost, owner: b.Owner})
}

func (p *Pen) mark(r record) {
	if p == nil {
		return
	}
	r.at = p.now()
	p.buf = r.append(p.buf)
}

// Flush passes everything to the writer. It does not wait.
func (p *Pen) Flush() {
	if p == nil || len(p.buf) == 0 {
		return
	}
	p.torn = !p.hand()
	p.buf, p.at = p.buf[:0], 0
	if cap(p.buf) > penRoom {
		p.buf = nil
	}
}

// hand queues buf for the writer. It returns false if there is no room for it.
func (p *Pen) hand() bool {
	p.mu.Lock()
	before := len(p.waiting)
	after := before + len(p.buf)
	if int64(after) > p.journal.share.Load() {
		p.mu.Unlock()
		p.journal.lost.Add(uint64(len(p.buf)))
		return false
	}
	p.waiting = append(p.waiting, p.buf...)
	p.mu.Unlock()
	if before < gathered && after >= gathered || before == 0 && p.journal.idle.CompareAndSwap(true, false) {
		p.journal.wake.Set()
	}
	return true
}

// collect returns what waits. The caller returns the buffer with keep.
func (p *Pen) collect() []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	b := p.waiting
	p.waiting, p.spare = p.spare, nil
	return b
}

// keep takes back a buffer whose content was written.
func (p *Pen) keep(b []byte) {
	if cap(b) > 4*gathered {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.spare = b[:0]
}

// length returns the number of bytes that wait.
func (p *Pen) length() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.waiting)
}

// penRoom is the maximum capacity of the buffer that a pen keeps.
const penRoom = 256 << 10
