package owner

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/owner/machine"
)

// listedPerKey is the largest number of holds, and of waiters, of one key that a list shows, and
// listedPerKeyBytes about the largest number of their bytes. listBytes is about the largest number
// of bytes of one member's part of a list.
const (
	listedPerKey      = 100
	listedPerKeyBytes = 16 << 10
	listBytes         = 2 << 20
)

// A Listing is one member's part of a list.
type Listing struct {
	Locks []sharelock.KeyState
	// More is set if there are further keys after the last of Locks.
	More bool
	// Quarantined counts the partitions whose state was lost, so that locks may
	// exist that are not listed (section 4.3).
	Quarantined int
	// size is about how many bytes Locks take.
	size int
	// end is the first key that was cut off, or empty. No key from there on is shown, even if it
	// would fit, since a page that begins behind it would miss the key that was cut off.
	end string
}

// List reads the locks of the partitions that this member owns: keys that begin
// with prefix and come after after, in order, at most limit. A client id keeps
// the keys that this client holds or waits for. It fails with [ErrBehind] when
// a partition it owns is not active, or the epoch is another one, so that a list
// never passes over keys in silence.
//
// Partitions are read one by one, and a large one in parts, so that a long list does not
// hold up requests. A key that is there all the while is in the list.
func (s *Service) List(ctx context.Context, epoch uint32, prefix, clientID, after string, limit int) (Listing, error) {
	var l Listing
	want := listed{service: s, epoch: epoch, prefix: prefix, client: clientID, after: after, limit: limit + 1}
	for p := range uint32(s.partitions) {
		if !want.of(p, &l) {
			return Listing{}, ErrBehind
		}
		if err := ctx.Err(); err != nil {
			return Listing{}, err
		}
		if len(l.Locks) > 4*limit || l.size > 4*listBytes {
			l.Cut(limit)
		}
	}
	l.Cut(limit)
	// A2: the list may be shown only by a member that may still act.
	if s.cur.Load() != epoch || !s.LeaseValid() {
		return Listing{}, ErrBehind
	}
	return l, nil
}

// Cut sorts by key and keeps what fits: limit locks and two megabytes, half of what
// gRPC clients take by default.
func (l *Listing) Cut(limit int) {
	slices.SortFunc(l.Locks, func(a, b sharelock.KeyState) int { return strings.Compare(a.Key, b.Key) })
	l.size = 0
	for i := range l.Locks {
		size := sizeOf(&l.Locks[i])
		if i == limit || i > 0 && l.size+size > listBytes || l.end != "" && l.Locks[i].Key > l.end {
			if l.end == "" || l.Locks[i].Key < l.end {
				l.end = l.Locks[i].Key
			}
			clear(l.Locks[i:])
			l.Locks, l.More = l.Locks[:i], true
			return
		}
		l.size += size
	}
}

// nodeBytes is about how many bytes the name of a node takes in a message.
const nodeBytes = 64

// sizeOf returns about how many bytes a lock takes in a message, and rather more than less.
func sizeOf(l *sharelock.KeyState) int {
	size := len(l.Key) + nodeBytes + 64
	for i := range l.Holds {
		size += machine.HoldBytes(&l.Holds[i]) + nodeBytes
	}
	for i := range l.Waiters {
		size += machine.WaiterBytes(&l.Waiters[i])
	}
	return size
}

// listed is what a list shows of each partition: the first limit keys that begin with
// prefix, come after after, and are held or waited for by client, if that is not empty.
type listed struct {
	service               *Service
	epoch                 uint32
	prefix, client, after string
	limit                 int
	// names are the keys that were found in the partition.
	names map[string]struct{}
}

// of adds the locks of a partition. It returns false if the partition is not active.
func (w *listed) of(p uint32, l *Listing) bool {
	w.names = nil
	var scan *machine.Scan
	for done := false; !done; {
		if !w.visit(p, func(m *machine.Machine, now time.Duration) {
			if scan == nil {
				scan = m.Scan(w.client, w.see)
				if m.Quarantined(now) > 0 {
					l.Quarantined++
				}
			}
			done = scan.Step()
		}, func() { done = true }) {
			return false
		}
	}
	w.cut() // outside of the turn, now that nothing is found any more
	names := slices.Sorted(maps.Keys(w.names))
	for len(names) > 0 {
		if !w.visit(p, func(m *machine.Machine, now time.Duration) {
			size := 0
			for len(names) > 0 && size < machine.StepBytes/2 {
				if lock, ok := m.Excerpt(now, names[0], listedPerKey, listedPerKeyBytes); ok {
					l.Locks = append(l.Locks, lock)
					size += sizeOf(&lock)
				}
				names = names[1:]
				size += listedCost
			}
			l.size += size
		}, func() { names = nil }) {
			return false
		}
	}
	return true
}

// listedCost is how many bytes a key counts at least, so that a step does not read too many keys.
const listedCost = machine.StepBytes / 100

// visit runs fn for the machine of an active partition in its shard's turn, or none if
// this member does not own the partition. It returns false if the partition should be
// active and is not.
func (w *listed) visit(p uint32, fn func(*machine.Machine, time.Duration), none func()) (ok bool) {
	return w.visitPart(p, func(sh *shard, p *partition) {
		fn(p.m, w.service.clock())
		sh.saw(p.m)
	}, none)
}

// visitPart is visit for a caller that needs the shard.
func (w *listed) visitPart(p uint32, fn func(*shard, *partition), none func()) (ok bool) {
	return w.service.inShard(p, func(sh *shard, p *partition) {
		if ok = sh.epoch == w.epoch && (p.active || !p.owned); !ok {
			return
		}
		if p.active {
			fn(sh, p)
		} else {
			none()
		}
	}) && ok
}

// see takes a key if it is wanted.
func (w *listed) see(key []byte) {
	if string(key) <= w.after || len(key) < len(w.prefix) || string(key[:len(w.prefix)]) != w.prefix {
		return
	}
	if _, known := w.names[string(key)]; known {
		return
	}
	if w.names == nil {
		w.names = map[string]struct{}{}
	}
	w.names[string(key)] = struct{}{}
}

// cut keeps the first limit keys.
func (w *listed) cut() {
	if len(w.names) <= w.limit {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(w.names))[w.limit:] {
		delete(w.names, name)
	}
}

// check returns the first violated invariant in this shard.
func (sh *shard) check() error {
	dormant := 0
	for _, p := range sh.parts {
		if p.owned && !p.active {
			dormant++
		}
		if p.m == nil {
			continue
		}
		if err := p.m.Check(); err != nil {
			return err
		}
	}
	if dormant != sh.dormant {
		return fmt.Errorf("%d partitions are owned and not active, and %d are counted", dormant, sh.dormant)
	}
	return nil
}
