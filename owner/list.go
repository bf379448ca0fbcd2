package owner

import (
	"context"
	"slices"
	"strings"

	"github.com/sgkandale/sharelock"
)

// The most holds and waiters of one key that a list shows, their bytes, roughly, and the
// bytes of one member's part of a list.
const (
	listedPerKey      = 100
	listedPerKeyBytes = 64 << 10
	listBytes         = 2 << 20
)

// Listing is one member's part of a list.
type Listing struct {
	Locks []sharelock.Lock
	// More: there are further keys after the last of Locks.
	More bool
	// Quarantined counts the partitions whose state was lost, so that locks may
	// exist that are not listed (section 4.3).
	Quarantined int
	// size is about what Locks take, in bytes.
	size int
}

// List reads the locks of the partitions that this member owns: keys that begin
// with prefix and come after after, in order, at most limit. A client id keeps
// the keys that this client holds or waits for. It fails with [ErrBehind] when
// a partition it owns is not active, or the epoch is another one, so that a list
// never passes over keys in silence.
//
// Partitions are read one by one, so that a long list does not hold up requests.
func (s *Service) List(ctx context.Context, epoch uint32, prefix, clientID, after string, limit int) (Listing, error) {
	var l Listing
	for p := range uint32(s.partitions) {
		ready := false
		ok := s.inShard(p, func(sh *shard, p *partition) {
			ready = sh.epoch == epoch && (p.active || !p.owned)
			if ready && p.active {
				p.list(s, &l, prefix, clientID, after, limit+1)
			}
		})
		if !ok || !ready {
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
	slices.SortFunc(l.Locks, func(a, b sharelock.Lock) int { return strings.Compare(a.Key, b.Key) })
	l.size = 0
	for i := range l.Locks {
		size := sizeOf(&l.Locks[i])
		if i == limit || i > 0 && l.size+size > listBytes {
			clear(l.Locks[i:])
			l.Locks, l.More = l.Locks[:i], true
			return
		}
		l.size += size
	}
}

// sizeOf is roughly what a lock takes in a message.
func sizeOf(l *sharelock.Lock) int {
	size := len(l.Key) + 64
	for i := range l.Holds {
		size += len(l.Key) + metadataSize(l.Holds[i].Metadata) + 256
	}
	for i := range l.Waiters {
		size += metadataSize(l.Waiters[i].Metadata) + 256
	}
	return size
}

// HoldBytes is about what a hold takes in a message.
func HoldBytes(h *sharelock.Hold) int {
	return entryBytes + len(h.Key) + len(h.ClientID) + len(h.RequestID) + metadataSize(h.Metadata)
}

func metadataSize(m map[string]string) int {
	size := 0
	for k, v := range m {
		size += len(k) + len(v) + 8
	}
	return size
}

// list adds the partition's locks, the first limit of them.
func (p *partition) list(s *Service, l *Listing, prefix, clientID, after string, limit int) {
	now := s.clock()
	if p.m.Quarantined(now) > 0 {
		l.Quarantined++
	}
	var keys []string
	p.m.Keys(func(key string) bool {
		if key > after && strings.HasPrefix(key, prefix) {
			keys = append(keys, key)
		}
		return true
	})
	slices.Sort(keys)
	for _, key := range keys {
		if clientID != "" && !p.m.uses(key, clientID) {
			continue
		}
		lock, ok := p.m.read(now, key, excerpt{most: listedPerKey, bytes: listedPerKeyBytes})
		if !ok {
			continue
		}
		l.Locks = append(l.Locks, lock)
		l.size += sizeOf(&lock)
		if limit--; limit == 0 {
			return
		}
	}
}

// check returns the first violated invariant in this shard.
func (sh *shard) check() error {
	for _, p := range sh.parts {
		if p.m == nil {
			continue
		}
		if err := p.m.Check(); err != nil {
			return err
		}
	}
	return nil
}
