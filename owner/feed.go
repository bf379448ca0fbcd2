package owner

import (
	"context"
	"errors"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/owner/feed"
	"github.com/sgkandale/sharelock/owner/machine"
)

// What a member tells of its keys. Package feed describes these types.
type (
	// Feed is what one node is told.
	Feed = feed.Feed
	// Target is what is watched.
	Target = feed.Target
	// News is something that a feed tells.
	News = feed.News
	// Event is what happened to a key.
	Event = feed.Event
	// Cursor is the place of an event in the log of its partition.
	Cursor = feed.Cursor
	// Read asks for the present state of a target.
	Read = feed.Read
	// Part is a part of the result of a Read.
	Part = feed.Part
)

// ErrFeedClosed means that a feed was closed.
var ErrFeedClosed = feed.ErrClosed

// ParseCursor reads what [Cursor.String] has written. It returns false for anything else.
func ParseCursor(s string) (Cursor, bool) { return feed.ParseCursor(s) }

// Feed returns a feed that watches nothing yet. The caller calls Close.
func (s *Service) Feed() *Feed { return s.watched.Open(feedReader{s}) }

// A feedReader reads for the feeds of a service.
type feedReader struct{ service *Service }

// readEnough is how many snapshots end the read of a prefix before all its partitions are read, so
// that the reader can ask for more at its own pace.
const readEnough = 512

// Read implements feed.Reader.
func (x feedReader) Read(ctx context.Context, f *Feed, r Read) {
	s := x.service
	if r.Key != "" {
		s.readKey(f, r)
		return
	}
	p := prefixRead{service: s, feed: f, read: r}
	for i, id := range r.Partitions {
		if !f.AwaitRoom(ctx) {
			return
		}
		p.final = i == len(r.Partitions)-1
		var ok bool
		switch visited := s.reading.Visit(ctx, func() { ok = p.partition(id) }); {
		case !visited:
			return
		case !ok:
			f.Pass(&Part{ID: r.ID, Epoch: r.Epoch, Last: true, Err: ErrBehind})
			return
		case ctx.Err() != nil || p.ended:
			return
		}
	}
}

// readKey reads a key like any Get, so that the result has a place in the log.
// The result is passed to the feed.
func (s *Service) readKey(f *Feed, r Read) {
	id := s.partition(r.Key)
	if s.cur.Load() != r.Epoch {
		f.Pass(&Part{ID: r.ID, Partition: id, Epoch: r.Epoch, Last: true, Err: ErrBehind})
		return
	}
	s.Submit(id, Ref{Caller: &keyRead{service: s, feed: f, read: r, partition: id}}, &Request{Kind: Get, Key: r.Key, Send: 1})
}

// A keyRead is the caller of a Get for a feed.
type keyRead struct {
	service   *Service
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
		sh := k.service.shard(k.partition)
		if sh.epoch != k.read.Epoch {
			part.Err = ErrBehind
			break
		}
		t := &sh.part(k.partition).tail
		part.Seq = t.Last()
		if k.read.Resume {
			part.Events, part.Resumed = t.After(k.read.Key, k.read.After)
		}
		if a.Lock != nil && !part.Resumed {
			part.Events = feed.Snapshots(a.Lock, Event{Partition: k.partition, Epoch: sh.epoch, Seq: t.Last(), Event: sharelock.Event{At: time.Now().UTC()}})
		}
	}
	k.feed.Pass(part)
}

// A prefixRead is the read of a prefix under way.
type prefixRead struct {
	service *Service
	feed    *Feed
	read    Read
	// shown is how many snapshots were made, and final is set in the last partition. ended is set
	// when no other partition is read.
	shown        int
	final, ended bool
}

// partition reads the keys of a partition with the prefix. It returns false if the partition should
// be active and is not, or is not owned here.
func (p *prefixRead) partition(id uint32) (ok bool) {
	if int(id) >= p.service.partitions {
		return false
	}
	w := listed{service: p.service, epoch: p.read.Epoch, prefix: p.read.Prefix, limit: math.MaxInt}
	owned, quarantined, scan := true, false, (*machine.Scan)(nil)
	none := func() { owned = false }
	for done := false; !done && owned; {
		if !w.visit(id, func(m *machine.Machine, now time.Duration) {
			if scan == nil {
				quarantined = m.Quarantined(now) > 0
				scan = m.Scan("", w.see)
			}
			done = scan.Step()
		}, none) {
			return false
		}
	}
	names := slices.Sorted(maps.Keys(w.names))
	for done := false; !done && owned; {
		if !w.visitPart(id, func(sh *shard, pt *partition) {
			names = p.show(sh, pt, names, quarantined)
			done = len(names) == 0
		}, none) {
			return false
		}
	}
	return owned
}

// show makes a part of some of the named keys, which leaves like an answer, and returns the names
// of the others.
func (p *prefixRead) show(sh *shard, pt *partition, names []string, quarantined bool) (rest []string) {
	part := &Part{ID: p.read.ID, Partition: pt.id, Epoch: p.read.Epoch, Quarantined: quarantined}
	rest = sh.excerpts(pt, part, names)
	p.shown += len(part.Events)
	part.Done = len(rest) == 0
	p.ended = part.Done && (p.final || p.shown >= readEnough)
	part.Last = p.ended
	sh.out.Replies = append(sh.out.Replies, machine.Reply{
		Ref: Ref{Caller: &partRead{feed: p.feed, part: part}}, Answer: Answer{Outcome: Done}, Seq: pt.m.Seq(),
	})
	sh.after(pt, pt.m.Len())
	return rest
}

// excerpts adds snapshots of some of the named keys to a part, and returns the names of the others.
func (sh *shard) excerpts(p *partition, part *Part, names []string) (rest []string) {
	sh.observe(p)
	at := Event{Partition: p.id, Epoch: sh.epoch, Seq: p.m.Seq(), Event: sharelock.Event{At: time.Now().UTC()}}
	for size := 0; len(names) > 0 && size < machine.StepBytes/2; names = names[1:] {
		if l, ok := p.m.Excerpt(sh.now, names[0], listedPerKey, listedPerKeyBytes); ok {
			part.Events = append(part.Events, feed.Snapshots(&l, at)...)
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
	r.feed.Pass(r.part)
}
