package owner

import (
	"math"
	"slices"
	"time"

	"github.com/sgkandale/sharelock/internal/compact"
	"github.com/sgkandale/sharelock/internal/tracecontext"
	"github.com/sgkandale/sharelock/owner/machine"
	"github.com/sgkandale/sharelock/owner/ops"
	"github.com/sgkandale/sharelock/ring"
)

// How many ops, bytes of ops, and answers of one partition may wait for its backups. Beyond that
// requests are answered Retry: a slow backup costs latency, never memory.
const (
	maxUnacked      = 16384
	maxUnackedBytes = 8 << 20
	maxPending      = 16384
)

// maxEntries is about the largest number of bytes of ops that travel together. The backup applies
// them in one step.
const maxEntries = machine.StepBytes - 8<<10

// maxOps is the largest number of ops that travel together. It leaves room for Machine.Tidy in the
// backup's step.
const maxOps = machine.StepEntries - 2*machine.TidyEntries

// Entries are consecutive ops of one partition on their way to a backup (A3).
type Entries struct {
	Partition uint32
	// First is the sequence number of the first op.
	First uint64
	// Ops are the encoded ops, one after the other.
	Ops []byte
	// Traces are the spans of requests that have caused some of the ops, at most [MaxEntryTraces]. Ops
	// that are sent again have none.
	Traces []tracecontext.Parent
}

// An Ack says up to which op a backup has applied a partition's log.
type Ack struct {
	Partition uint32
	Seq       uint64
	// Gap is set if the backup lacks the ops after Seq and asks for them.
	Gap bool
}

// A replica is what the owner knows of one backup of one partition.
type replica struct {
	// acked is the last op that the backup has acknowledged, sent the last that was handed to its
	// link.
	acked, sent uint64
	// since is when the backup last made progress while something was to be acknowledged (V6).
	since  time.Duration
	member ring.Member
}

// An oplog has what the owner of a partition keeps until all backups have it.
type oplog struct {
	backups []replica
	// All backups have the ops up to base; ops are the encoded ones after it. They lie in an
	// opArena and are never written again, because messages on their way refer to them.
	base  uint64
	ops   compact.Queue[[]byte]
	bytes int
	// pending are the answers that wait for acknowledgements, in the order of the log.
	pending compact.Queue[machine.Reply]
	// measured is an op whose way to the backups is measured, and decided is when it was decided; 0
	// is none.
	measured uint64
	decided  time.Duration
	// traces are the spans of the ops that were not sent yet.
	traces []tracecontext.Parent
}

// An opArena has room for encoded ops, so that not each of them is allocated. The garbage collector
// frees a piece when nobody refers to it any more.
type opArena struct{ room []byte }

const arenaPiece = 16 << 10

// encode gives the bytes of an op.
func (a *opArena) encode(op *ops.Op) []byte {
	const most = 1 << 10 // nearly all ops are smaller; others get room of their own
	if cap(a.room)-len(a.room) < most {
		a.room = make([]byte, 0, arenaPiece)
	}
	start := len(a.room)
	all := op.Append(a.room)
	if cap(all) != cap(a.room) {
		a.room = nil                                  // the next one begins a piece
		return slices.Clip(slices.Clone(all[start:])) // it did not fit, and took all before it along
	}
	a.room = all
	return all[start:len(all):len(all)]
}

// begin empties the log for a new epoch. base is the sequence number of the copy that owner and
// backups share.
func (l *oplog) begin(backups []ring.Member, base uint64) {
	l.backups = make([]replica, len(backups))
	for i, m := range backups {
		l.backups[i] = replica{member: m, acked: base, sent: base}
	}
	l.base, l.ops, l.bytes, l.measured, l.traces = base, compact.Queue[[]byte]{}, 0, 0, nil
	l.pending = compact.Queue[machine.Reply]{}
}

// full reports whether no more requests may be taken until the backups have caught up.
func (l *oplog) full() bool {
	return l.ops.Len() >= maxUnacked || l.bytes >= maxUnackedBytes || l.pending.Len() >= maxPending
}

// append adds ops that have just been decided.
func (l *oplog) append(now time.Duration, decided []ops.Op, room *opArena) {
	for i := range l.backups {
		if r := &l.backups[i]; r.acked == l.last() {
			r.since = now
		}
	}
	for i := range decided {
		op := room.encode(&decided[i])
		l.ops.Push(op)
		l.bytes += len(op)
	}
	if l.measured == 0 {
		l.measured, l.decided = l.last(), now
	}
}

// arrived returns how long the op that was measured took, once all backups have it.
func (l *oplog) arrived(now time.Duration) (took time.Duration, ok bool) {
	if l.measured == 0 || l.measured > l.base {
		return 0, false
	}
	l.measured = 0
	return now - l.decided, true
}

func (l *oplog) last() uint64 { return l.base + uint64(l.ops.Len()&math.MaxInt) }

// index returns how many ops lie between base and seq, which is not below base.
func (l *oplog) index(seq uint64) int { return int((seq - l.base) & math.MaxInt) }

// unsent returns ops that a backup has not been sent yet, and counts them as sent. It returns false
// if there are none.
func (l *oplog) unsent(p uint32, r *replica) (Entries, bool) {
	if r.sent >= l.last() {
		return Entries{}, false
	}
	e := Entries{Partition: p, First: r.sent + 1, Ops: *l.ops.At(l.index(r.sent))}
	for r.sent++; r.sent < l.last() && len(e.Ops) < maxEntries && r.sent-e.First < maxOps-1; r.sent++ {
		e.Ops = append(e.Ops, *l.ops.At(l.index(r.sent))...) // the first has no room behind it
	}
	return e, true
}

// ack notes what a backup has acknowledged, and appends to ready the answers that may leave now:
// those before which all ops have been acknowledged by all backups (A3).
func (l *oplog) ack(now time.Duration, from ring.Identity, a Ack, ready []machine.Reply) []machine.Reply {
	for i := range l.backups {
		if r := &l.backups[i]; r.member.Identity == from && a.Seq <= l.last() {
			if a.Seq > r.acked {
				r.acked, r.since = a.Seq, now
				// It may have come over an earlier link, after rewind has set sent back.
				r.sent = max(r.sent, r.acked)
			}
			if a.Gap {
				r.sent = r.acked // the rest is sent again
			}
		}
	}
	// One step handles some; shard.drain does the rest.
	commit := min(l.commit(), l.base+ackMost)
	if drop := l.index(commit); drop > 0 {
		for i := range drop {
			l.bytes -= len(*l.ops.At(i))
		}
		l.ops.Drop(drop)
		l.base = commit
	}
	n := 0
	for n < l.pending.Len() && n < ackMost && l.pending.At(n).Seq <= commit {
		n++
	}
	if n > 0 {
		for i := range n {
			ready = append(ready, *l.pending.At(i))
		}
		l.pending.Drop(n)
	}
	return ready
}

// ackMost is the largest number of ops, and of answers, that one step handles.
const ackMost = machine.StepEntries / 2

// behind reports whether ack has left something to do.
func (l *oplog) behind() bool {
	commit := l.commit()
	return l.base < commit || l.pending.Len() > 0 && l.pending.At(0).Seq <= commit
}

// commit returns the last op that every backup has.
func (l *oplog) commit() uint64 {
	commit := l.last()
	for i := range l.backups {
		commit = min(commit, l.backups[i].acked)
	}
	return commit
}

// rewind makes everything that a backup has not acknowledged unsent: its link broke and may have
// lost it. It reports whether there is anything to send.
func (l *oplog) rewind(to ring.Identity) bool {
	for i := range l.backups {
		if r := &l.backups[i]; r.member.Identity == to {
			r.sent = r.acked
			return r.sent < l.last()
		}
	}
	return false
}

// An outbox collects what a shard sends to each backup until the end of its batch (A4). It is
// reused for the next batch.
type outbox struct {
	to      []ring.Member
	entries [][]Entries
}

func (o *outbox) add(m *ring.Member, e Entries) {
	for i := range o.to {
		if o.to[i].Identity == m.Identity {
			o.entries[i] = append(o.entries[i], e)
			return
		}
	}
	o.to = append(o.to, *m)
	if n := len(o.to); n <= cap(o.entries) {
		o.entries = o.entries[:n] // it may have room from a batch before
		o.entries[n-1] = append(o.entries[n-1][:0], e)
		return
	}
	o.entries = append(o.entries, []Entries{e})
}

// empty removes everything and keeps the memory.
func (o *outbox) empty() {
	for i := range o.entries {
		clear(o.entries[i])
	}
	clear(o.to)
	o.to, o.entries = o.to[:0], o.entries[:0]
}

// Acked takes acknowledgements of a backup. Those of another epoch than the current one are ignored
// (schedule 1).
func (s *Service) Acked(from ring.Identity, epoch uint32, acks []Ack) {
	byShard(s, acks, func(a *Ack) uint32 { return a.Partition }, func(sh *shard, a *Ack) {
		p := sh.part(a.Partition)
		if sh.epoch != epoch || !p.active {
			return
		}
		sh.ready = p.log.ack(sh.now, from, *a, sh.ready)
		if took, ok := p.log.arrived(sh.now); ok {
			sh.totals.Replication.Observe(took)
		}
		sh.drain(p)
		if a.Gap {
			sh.touched = append(sh.touched, p)
		}
	})
}

// LinkUp tells the service that a link to a member was opened again. What the member has not
// acknowledged is sent again.
func (s *Service) LinkUp(to ring.Identity) {
	s.eachShard(func(sh *shard) {
		for _, p := range sh.parts {
			if p.active && p.log.rewind(to) {
				sh.touched = append(sh.touched, p)
			}
		}
	})
}

// byShard runs fn for each thing of a list in the turn of the shard of its partition, in one item for
// each shard. It does not wait. If there is only one shard, fn may run in the caller's goroutine, see
// putInline. fn must use the shard's now.
func byShard[T any](s *Service, list []T, partition func(*T) uint32, fn func(*shard, *T)) {
	var visited [maxShards]bool
	visits := 0
	for i := range list {
		if p := partition(&list[i]); int(p) < s.partitions {
			if n := int(p) % len(s.shards); !visited[n] {
				visited[n] = true
				visits++
			}
		}
	}
	// One function for all shards, each of which picks what is its own.
	it := item{quick: true, fn: func(sh *shard) {
		for i := range list {
			if p := partition(&list[i]); int(p) < s.partitions && s.shard(p) == sh {
				fn(sh, &list[i])
			}
		}
	}}
	give := (*shard).putInline
	if visits > 1 {
		give = (*shard).put // the loops work at the same time
	}
	for n, sh := range s.shards {
		if visited[n] {
			give(sh, it)
		}
	}
}

// eachShard runs fn in every shard's turn and does not wait.
func (s *Service) eachShard(fn func(sh *shard)) {
	for _, sh := range s.shards {
		sh.put(item{fn: fn})
	}
}
