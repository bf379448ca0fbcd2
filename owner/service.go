package owner

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/metrics"
	"github.com/sgkandale/sharelock/internal/trace"
	"github.com/sgkandale/sharelock/owner/feed"
	"github.com/sgkandale/sharelock/owner/journal"
	"github.com/sgkandale/sharelock/owner/ledger"
	"github.com/sgkandale/sharelock/owner/machine"
	"github.com/sgkandale/sharelock/ring"
)

// Config configures a [Service]. All fields are required except MaxLocks, MaxHold, Bounds, Limits,
// Count, Forced, Pause, Journal, Unknown and Tracer.
type Config struct {
	// Self identifies this member. Name is what people call it; it is put into holds.
	Self ring.Identity
	Name string
	// Partitions and MaxTTL are the cluster's constants.
	Partitions int
	MaxTTL     time.Duration
	// MaxWaiters bounds the queue of one key. MaxLocks bounds the keys that are held or waited for
	// in the partitions that this member owns; 0 is no limit.
	MaxWaiters, MaxLocks int
	// MaxHold bounds how long a hold that this member grants may last, however often it is
	// renewed; 0 is no limit.
	MaxHold time.Duration
	// Bounds bounds what each partition keeps. The zero value means DefaultBounds.
	Bounds Bounds
	// Limits, if set, returns how many holds and waiters a principal may have in the whole mesh; 0 is
	// no limit. It must not block.
	Limits func(principal string) (maxHolds, maxWaiters int)
	// Count is told that the claims of a principal with a limit have to be counted at all members:
	// BeginCount, Reveal at each other member, and EndCount in any case. It must not block, and is
	// required with Limits.
	Count func(principal string)
	// Shards is the number of loops, at most maxShards.
	Shards int
	// Clock returns the time from which all deadlines are measured. It must not go backwards.
	Clock func() time.Duration
	Peers Peers
	Log   *slog.Logger
	// Forced, if set, is called with the holds that a Force has taken away, once all backups know
	// it (A2, A3). It must not block.
	Forced func(holds []sharelock.Hold, reason string)
	// Pause, if set, is called in the turn of a shard at named points, the constants Point*. Tests
	// use it to let other things happen at these points.
	Pause func(point string)
	// Journal records what the copies here apply; nil records nothing.
	Journal *journal.Journal
	// Unknown, if set, is called when another member's log or copy has something that this program
	// does not know (W3). The process must then leave; it must not skip what it does not know.
	// Unknown is called in the turn of a shard and must not block.
	Unknown func(error)
	// Tracer makes the spans of requests that are traced; nil makes none.
	Tracer *trace.Tracer
}

// PointAnswer is the point after the lease was found valid and before the answers leave (A2).
const PointAnswer = "lease checked, answer not written"

// A Service has all partitions of one member. It serialises the requests for those that the member
// owns, follows the owners of those that it backs up, and answers the activations of other members.
// All methods are safe for concurrent use. Create one with [NewService] and end it with Stop.
type Service struct {
	self     ring.Identity
	name     string
	maxTTL   time.Duration
	maxLocks int
	maxHold  time.Duration
	waiters  int
	bounds   Bounds
	clock    func() time.Duration
	peers    Peers
	log      *slog.Logger
	forced   func(holds []sharelock.Hold, reason string)
	pause    func(point string)
	unknown  func(error)
	tracer   *trace.Tracer

	ledger     *ledger.Ledger
	shards     []*shard
	partitions int
	// locks is the number of keys in all active partitions.
	locks atomic.Int64
	// cur is the epoch that this member acts in. It only grows (A1).
	cur atomic.Uint32
	// leaseUntil is the end of the view lease on clock, in nanoseconds (V4).
	leaseUntil atomic.Int64
	// refresh is set if a new epoch is wanted: half of the tokens of some partition are used (G2),
	// or a copy does not fit its owner's ops.
	refresh atomic.Bool
	// told has for each partition the latest epoch in which it was said to be active (G1).
	told []atomic.Uint32
	// watched has who watches what, and reading whose turn it is to read a prefix.
	watched feed.Set
	reading *feed.Turn

	stop chan struct{}
	done sync.WaitGroup

	// mu serialises Install and Stop.
	mu      sync.Mutex
	rings   *ringCache
	stalls  stalls
	cancel  context.CancelFunc
	stopped bool
	// activations has how long activations took; guarded by activationsMu.
	activationsMu sync.Mutex
	activations   metrics.Histogram
	// changed is closed and replaced when something that Stats shows has changed; guarded by
	// changedMu.
	changedMu sync.Mutex
	changed   chan struct{}
}

// maxShards is the largest number of loops.
const maxShards = 256

// NewService returns the service of a member that is in no view yet, and starts its loops.
func NewService(cfg Config) *Service {
	s := &Service{
		self: cfg.Self, name: cfg.Name, maxTTL: cfg.MaxTTL, maxLocks: cfg.MaxLocks, maxHold: cfg.MaxHold, waiters: cfg.MaxWaiters,
		clock: cfg.Clock, peers: cfg.Peers, log: cfg.Log, forced: cfg.Forced, pause: cfg.Pause, unknown: cfg.Unknown, tracer: cfg.Tracer,
		partitions: cfg.Partitions, bounds: cfg.Bounds, ledger: ledger.New(cfg.Clock, cfg.Limits, cfg.Count),
		told:    make([]atomic.Uint32, cfg.Partitions),
		watched: feed.NewSet(cfg.Partitions),
		reading: feed.NewTurn(cfg.Clock),
		stop:    make(chan struct{}),
		cancel:  func() {},
		rings:   newRingCache(cfg.Partitions),
		changed: make(chan struct{}),
	}
	if s.bounds == (Bounds{}) {
		s.bounds = DefaultBounds
	}
	n := max(min(cfg.Shards, cfg.Partitions, maxShards), 1)
	for range n {
		s.shards = append(s.shards, newShard(s, cfg.Partitions/n+1, cfg.Journal.Pen()))
	}
	for p := range cfg.Partitions {
		sh := s.shards[p%n]
		sh.parts = append(sh.parts, &partition{id: uint32(p)})
	}
	for _, sh := range s.shards {
		s.done.Go(func() { sh.run(s.stop) })
	}
	return s
}

// Submit queues a request for a partition. The answers go to ref's caller, in any goroutine. r must
// not be changed before the last answer.
func (s *Service) Submit(partition uint32, ref Ref, r *Request) {
	s.SubmitAt(s.clock(), partition, ref, r)
}

// SubmitAt is Submit for a caller that has just read the service's clock.
func (s *Service) SubmitAt(now time.Duration, partition uint32, ref Ref, r *Request) {
	s.submit((*shard).put, now, partition, ref, r)
}

// ServeInline is SubmitAt for a caller that blocks on this one answer. It may run the shard in the
// caller's goroutine, so the answer may have come when it returns. The caller must hold no lock
// that this answer or answers to others need.
func (s *Service) ServeInline(now time.Duration, partition uint32, ref Ref, r *Request) {
	s.submit((*shard).putInline, now, partition, ref, r)
}

func (s *Service) submit(give func(*shard, item) bool, now time.Duration, partition uint32, ref Ref, r *Request) {
	if int(partition) >= s.partitions || !give(s.shard(partition), item{partition: partition, at: now, ref: ref, req: r}) {
		retry(ref, r)
	}
}

// Broke tells the service that the way to a caller broke. When it returns, the caller's waiters
// settle (Q5). Until then the caller's Alive must return true, or its waiters would be passed over.
func (s *Service) Broke(caller Caller) {
	var wg sync.WaitGroup
	for _, sh := range s.shards {
		wg.Add(1)
		i, upTo := 0, -1
		if !sh.put(item{fn: func(*shard) {
			sh.do(chore{step: func() (int, bool) { return sh.broke(caller, &i, &upTo), i == len(sh.parts) }, end: wg.Done})
		}}) {
			wg.Done()
		}
	}
	wg.Wait()
}

// broke is one step of Broke. It goes on with the waiters with numbers up to upTo, or all if that
// is -1, in the partition parts[i].
func (sh *shard) broke(caller Caller, i, upTo *int) (touched int) {
	now := sh.service.clock()
	for ; *i < len(sh.parts) && touched < machine.StepEntries/2; *i, *upTo = *i+1, -1 {
		p := sh.parts[*i]
		if !p.active {
			continue
		}
		if *upTo < 0 {
			*upTo = p.m.BrokeFrom()
		}
		*upTo = p.m.Broke(now, caller, *upTo)
		touched += sh.saw(p.m)
		sh.rearm(p)
		if *upTo > 0 {
			return touched
		}
	}
	return touched
}

// Epoch returns the epoch that this member acts in, or 0 before the first view.
func (s *Service) Epoch() uint32 { return s.cur.Load() }

// SetLease sets until when, on the service's clock, this member may act (V4). It never shortens the
// lease; only EndLease does.
func (s *Service) SetLease(until time.Duration) {
	for {
		old := s.leaseUntil.Load()
		if int64(until) <= old || s.leaseUntil.CompareAndSwap(old, int64(until)) {
			return
		}
	}
}

// EndLease gives up the lease, because this member was removed or leaves (V7).
func (s *Service) EndLease() { s.leaseUntil.Store(0) }

// LeaseLeft returns how much of the lease is left, or 0 if it has run out.
func (s *Service) LeaseLeft() time.Duration { return s.leaseLeft(s.clock()) }

// leaseLeft is LeaseLeft for a caller that has just read the clock.
func (s *Service) leaseLeft(now time.Duration) time.Duration {
	return max(time.Duration(s.leaseUntil.Load())-now, 0)
}

// LeaseValid reports whether this member may act now.
func (s *Service) LeaseValid() bool { return s.leaseValid(s.clock()) }

// leaseValid is LeaseValid for a caller that has just read the clock.
func (s *Service) leaseValid(now time.Duration) bool {
	return s.leaseLeft(now) > 0
}

// NeedsRefresh reports whether the leader should be asked for a new epoch: the tokens of a
// partition are half used up (G2), or a copy does not fit its owner's ops.
func (s *Service) NeedsRefresh() bool { return s.refresh.Load() }

// Install makes this member act in a newer view. When it returns, nothing of an older epoch is
// pending or will be answered (A1), and the partitions that the member owns in the view are being
// activated. An older or equal view changes nothing.
func (s *Service) Install(h ring.History, r *ring.Ring) {
	s.mu.Lock()
	defer s.mu.Unlock()
	epoch := r.Epoch()
	if s.stopped || epoch <= s.cur.Load() {
		return
	}
	s.cancel()
	// From here on no shard lets an answer of an older epoch leave, even before it has installed
	// the view itself.
	s.cur.Store(epoch)
	s.refresh.Store(false)
	s.ledger.Begin(epoch)
	s.rings.add(r)
	s.everyShard(func(sh *shard) { sh.install(epoch, r) })

	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	a := &activation{service: s, history: h, ring: r, epoch: epoch, view: r.View(), owned: r.Owned(s.self)}
	s.done.Go(func() { a.run(ctx) })
	s.touch()
}

// Stop ends all loops. Everything that waits is answered Retry. Stop may be called more than once.
func (s *Service) Stop() {
	s.mu.Lock()
	if !s.stopped {
		s.stopped = true
		s.cancel()
		close(s.stop)
	}
	s.mu.Unlock()
	s.done.Wait()
}

// everyShard runs fn in every shard's turn and waits for all.
func (s *Service) everyShard(fn func(sh *shard)) {
	var wg sync.WaitGroup
	for _, sh := range s.shards {
		wg.Add(1)
		if !sh.put(item{fn: func(*shard) { defer wg.Done(); fn(sh) }}) {
			wg.Done()
		}
	}
	wg.Wait()
}

// inShard runs fn in the turn of p's shard and waits for it. It returns false if the service has
// stopped.
func (s *Service) inShard(p uint32, fn func(sh *shard, p *partition)) bool {
	sh := s.shard(p)
	done := make(chan struct{})
	if !sh.put(item{fn: func(*shard) { defer close(done); fn(sh, sh.part(p)) }}) {
		return false
	}
	<-done
	return true
}

// partition returns the partition of a key.
func (s *Service) partition(key string) uint32 { return ring.PartitionOf(key, uint32(s.partitions)) }

func (s *Service) shard(p uint32) *shard { return s.shards[int(p)%len(s.shards)] }

// Changed returns a channel that is closed at the next change of what Stats shows.
func (s *Service) Changed() <-chan struct{} {
	s.changedMu.Lock()
	defer s.changedMu.Unlock()
	return s.changed
}

// touch closes the channel of Changed.
func (s *Service) touch() {
	s.changedMu.Lock()
	close(s.changed)
	s.changed = make(chan struct{})
	s.changedMu.Unlock()
}

// Stats are sums over this member's partitions.
type Stats struct {
	Epoch uint32
	// Owned and Active count the partitions this member owns in the epoch, and
	// those of them whose activation is done.
	Owned, Active int
	// Backed counts the partitions it is a backup of, Synced those of them whose
	// copy was synced in the epoch.
	Backed, Synced int
	// Copies counts the partitions of which it holds a copy, in whatever role.
	Copies int
	// Quarantined counts the active partitions in quarantine; the last of these quarantines ends
	// in QuarantineLeft.
	Quarantined    int
	QuarantineLeft time.Duration
	// Locks, Holds and Waiters count keys held or waited for, holds, and places in queues, in
	// active partitions.
	Locks, Holds, Waiters int
	// LongestWait is how long the first of all waiters has waited since it came to this owner.
	LongestWait time.Duration
}

// Worked returns how much this service has done since it began: the requests that it has handled as
// an owner, and the operations that it has applied as a backup. Renewals by sessions do not count.
func (s *Service) Worked() (n uint64) {
	for _, sh := range s.shards {
		n += sh.worked.Load()
	}
	return n
}

// Stats asks every shard. It is not for a hot path.
func (s *Service) Stats() Stats {
	var mu sync.Mutex
	st := Stats{Epoch: s.cur.Load()}
	s.everyShard(func(sh *shard) {
		mu.Lock()
		defer mu.Unlock()
		now := s.clock()
		for _, p := range sh.parts {
			if p.owned {
				st.Owned++
			}
			if p.m != nil {
				st.Copies++
			}
			if p.backup {
				st.Backed++
				if p.have == sh.epoch {
					st.Synced++
				}
			}
			if !p.active {
				continue
			}
			st.Active++
			st.Locks += p.m.Len()
			st.Holds += p.m.Holds()
			st.Waiters += p.m.Waiters()
			st.LongestWait = max(st.LongestWait, p.m.LongestWait(now))
			if left := p.m.Quarantined(now); left > 0 {
				st.Quarantined++
				st.QuarantineLeft = max(st.QuarantineLeft, left)
			}
		}
	})
	return st
}

// Check returns the first violated invariant of any partition.
func (s *Service) Check() error {
	var mu sync.Mutex
	var first error
	s.everyShard(func(sh *shard) {
		err := sh.check()
		mu.Lock()
		defer mu.Unlock()
		if first == nil {
			first = err
		}
	})
	return first
}

// Expire ends a hold now, as the end of its TTL would, and returns when this member, its owner, has
// decided so: the backups learn of it as of any other operation. It is for tests of programs that
// use locks.
func (s *Service) Expire(id uint32, key string, token sharelock.Token) error {
	err := sharelock.ErrNotReady
	s.inShard(id, func(sh *shard, p *partition) {
		if !p.active || !s.LeaseValid() {
			return
		}
		err = sharelock.ErrNotHeld
		before := p.m.Len()
		sh.observe(p)
		if p.m.Expire(sh.now, key, token, &sh.out) {
			err = nil
		}
		sh.saw(p.m)
		sh.tell(p, "")
		sh.after(p, before)
	})
	return err
}
