package owner

import (
	"context"
	"errors"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/owner/machine"
)

// ErrFeedClosed means that a feed was closed.
var ErrFeedClosed = errors.New("the feed is closed")

// readEnough is how many snapshots end the read of a prefix before all its partitions are read, so
// that the reader can ask for more at its own pace.
const readEnough = 512

// Read reads the state of a target that is watched. The parts of the result are news of the feed,
// in their place among the events: what is told of a key after its snapshot is newer. The read of a
// key does not wait; that of a prefix returns when it has ended.
func (f *Feed) Read(ctx context.Context, r Read) {
	if r.Key != "" {
		f.readKey(r)
		return
	}
	last := Part{ID: r.ID, Epoch: r.Epoch, Last: true}
	for shown, i := 0, 0; i < len(r.Partitions) && shown < readEnough; i++ {
		n, ok := f.readPartition(r, r.Partitions[i])
		switch shown += n; {
		case !ok:
			last.Err = ErrBehind
		case ctx.Err() != nil:
			last.Err = ctx.Err()
		default:
			continue
		}
		break
	}
	f.pass(&last)
}

// pass queues a part.
func (f *Feed) pass(p *Part) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.push(News{Part: p})
}

// readKey reads a key like any Get, so that the result has a place in the log.
func (f *Feed) readKey(r Read) {
	id := f.service.partition(r.Key)
	if f.service.cur.Load() != r.Epoch {
		f.pass(&Part{ID: r.ID, Partition: id, Epoch: r.Epoch, Last: true, Err: ErrBehind})
		return
	}
	f.service.Submit(id, Ref{Caller: &keyRead{feed: f, read: r, partition: id}}, &Request{Kind: Get, Key: r.Key, Send: 1})
}

// A keyRead is the caller of a Get for a feed.
type keyRead struct {
	feed      *Feed
	read      Read
	partition uint32
}

// Alive implements Caller.
func (k *keyRead) Alive() bool { return true }

// Answer implements Caller. Unless the answer is Retry it is called in the shard's turn.
func (k *keyRead) Answer(_ uint64, a Answer) {
	part := &Part{ID: k.read.ID, Partition: k.partition, Epoch: k.read.Epoch, Done: true, Last: true}
	switch {
	case a.Outcome == Retry:
		part.Err = ErrBehind
	case a.Outcome == Failed && !errors.Is(a.Err, sharelock.ErrNotHeld):
		part.Err = a.Err
	default:
		sh := k.feed.service.shard(k.partition)
		if sh.epoch != k.read.Epoch {
			part.Err = ErrBehind
			break
		}
		t := &sh.part(k.partition).tail
		part.Seq = t.last
		if k.read.Resume {
			part.Events, part.Resumed = t.after(k.read.Key, k.read.After)
		}
		if a.Lock != nil && !part.Resumed {
			part.Events = snapshots(a.Lock, Event{Partition: k.partition, Epoch: sh.epoch, Seq: t.last, Event: sharelock.Event{At: time.Now().UTC()}})
		}
	}
	k.feed.pass(part)
}

// readPartition reads the keys of a partition with a prefix, and returns how many snapshots it has
// queued. It returns false if the partition should be active and is not.
func (f *Feed) readPartition(r Read, id uint32) (shown int, ok bool) {
	if int(id) >= f.service.partitions {
		return 0, false
	}
	w := listed{service: f.service, epoch: r.Epoch, prefix: r.Prefix, limit: math.MaxInt}
	owned := true
	none := func() { owned = false }
	quarantined, scan := false, (*machine.Scan)(nil)
	for done := false; !done && owned; {
		if !w.visit(id, func(m *machine.Machine, now time.Duration) {
			if scan == nil {
				quarantined = m.Quarantined(now) > 0
				scan = m.Scan("", w.see)
			}
			done = scan.Step()
		}, none) {
			return 0, false
		}
	}
	names := slices.Sorted(maps.Keys(w.names))
	for done := false; !done && owned; {
		part := &Part{ID: r.ID, Partition: id, Epoch: r.Epoch, Quarantined: quarantined}
		if !w.visitPart(id, func(sh *shard, p *partition) {
			names = sh.excerpts(p, part, names)
			done = len(names) == 0
			part.Done = done
			shown += len(part.Events)
			sh.out.Replies = append(sh.out.Replies, machine.Reply{
				Ref: Ref{Caller: &partRead{feed: f, part: part}}, Answer: Answer{Outcome: Done}, Seq: p.m.Seq(),
			})
			sh.after(p, p.m.Len())
		}, none) {
			return 0, false
		}
	}
	return shown, owned
}

// excerpts adds snapshots of some of the named keys to a part, and returns the names of the others.
func (sh *shard) excerpts(p *partition, part *Part, names []string) (rest []string) {
	sh.observe(p)
	at := Event{Partition: p.id, Epoch: sh.epoch, Seq: p.m.Seq(), Event: sharelock.Event{At: time.Now().UTC()}}
	for size := 0; len(names) > 0 && size < machine.StepBytes/2; names = names[1:] {
		if l, ok := p.m.Excerpt(sh.now, names[0], listedPerKey, listedPerKeyBytes); ok {
			part.Events = append(part.Events, snapshots(&l, at)...)
			size += sizeOf(&l)
		}
		size += listedCost
	}
	sh.saw(p.m)
	return names
}

// A partRead is the caller of an answer that is a part of the read of a prefix.
type partRead struct {
	feed *Feed
	part *Part
}

// Alive implements Caller.
func (r *partRead) Alive() bool { return true }

// Answer implements Caller.
func (r *partRead) Answer(_ uint64, a Answer) {
	if a.Outcome != Done {
		r.part.Events, r.part.Done, r.part.Last, r.part.Err = nil, false, true, ErrBehind
	}
	r.feed.pass(r.part)
}
