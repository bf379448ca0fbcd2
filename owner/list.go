package owner

import (
	"context"
	"slices"
	"strings"

	"github.com/sgkandale/sharelock"
)

// List reads the locks of the partitions that this member owns: keys that begin
// with prefix and come after after, in order, at most limit. A client id keeps
// the keys that this client holds or waits for. It fails with [ErrBehind] when
// a partition it owns is not active, or the epoch is another one, so that a list
// never passes over keys in silence.
//
// Partitions are read one by one, so that a long list does not hold up requests.
func (s *Service) List(ctx context.Context, epoch uint32, prefix, clientID, after string, limit int) ([]sharelock.Lock, error) {
	var found []sharelock.Lock
	for p := range uint32(s.partitions) {
		var part []sharelock.Lock
		ready := false
		ok := s.inShard(p, func(sh *shard, p *partition) {
			ready = sh.epoch == epoch && (p.active || !p.owned)
			if ready && p.active {
				part = p.list(s, prefix, clientID, after, limit)
			}
		})
		if !ok || !ready {
			return nil, ErrBehind
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if found = append(found, part...); len(found) > 2*limit {
			found = firstByKey(found, limit)
		}
	}
	// A2: the list may be shown only by a member that may still act.
	if s.cur.Load() != epoch {
		return nil, ErrBehind
	}
	if !s.LeaseValid() {
		return nil, errLeaseOver
	}
	return firstByKey(found, limit), nil
}

func (p *partition) list(s *Service, prefix, clientID, after string, limit int) []sharelock.Lock {
	var keys []string
	p.m.Keys(func(key string) bool {
		if key > after && strings.HasPrefix(key, prefix) {
			keys = append(keys, key)
		}
		return true
	})
	slices.Sort(keys)
	now := s.clock()
	var locks []sharelock.Lock
	for _, key := range keys {
		l, ok := p.m.Lock(now, key)
		if ok && (clientID == "" || uses(&l, clientID)) {
			locks = append(locks, l)
		}
		if len(locks) == limit {
			break
		}
	}
	return locks
}

func uses(l *sharelock.Lock, clientID string) bool {
	for i := range l.Holds {
		if l.Holds[i].ClientID == clientID {
			return true
		}
	}
	for i := range l.Waiters {
		if l.Waiters[i].ClientID == clientID {
			return true
		}
	}
	return false
}

// firstByKey sorts and cuts.
func firstByKey(locks []sharelock.Lock, limit int) []sharelock.Lock {
	slices.SortFunc(locks, func(a, b sharelock.Lock) int { return strings.Compare(a.Key, b.Key) })
	if len(locks) > limit {
		clear(locks[limit:])
		locks = locks[:limit]
	}
	return locks
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
