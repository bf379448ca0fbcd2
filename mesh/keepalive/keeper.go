package keepalive

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/wake"
	"github.com/sgkandale/sharelock/mesh/epoch"
	"github.com/sgkandale/sharelock/mesh/link"
	"github.com/sgkandale/sharelock/owner"
	"github.com/sgkandale/sharelock/ring"
)

const (
	// roundPart is how many holds are looked at before others may have their turn.
	roundPart = 256
	// roundMost is about how many holds there are in one round.
	roundMost = 16 * roundPart
	// tellAfter is the longest that a client waits to hear of a renewal because others
	// are under way.
	tellAfter = 10 * time.Millisecond
	// longestSleep is the longest that the loop trusts a timer, which does not count
	// suspended time.
	longestSleep = time.Second
)

// Config is what a [Keeper] needs to know. All fields are required.
type Config struct {
	Self  ring.Identity
	Views *epoch.Views
	Links *link.Links
	Clock func() time.Duration
	// Ready returns why this node may not serve, or nil (Q4).
	Ready func() error
	// Limits are what the TTLs of holds are checked against.
	Limits func() sharelock.Limits
	// Release releases a hold of a session that closes, for the caller of ctx.
	Release func(ctx context.Context, key string, token sharelock.Token) error
	// Spawn runs a goroutine, or returns false when this process stops.
	Spawn func(func()) bool
	Log   *slog.Logger
}

// Keeper keeps the holds alive that clients have attached to their sessions with this node. In
// rounds, those that are due and whose client has sent a keepalive since their last renewal are
// renewed with their owners: one request for all of a partition, those of all sessions together.
//
// Q3: a renewal counts from the newest keepalive that had come *before its round began*, so from a
// moment before the owner could know of it; and it counts when the owner has confirmed this very
// hold. Whatever else happens to the request, the hold is tried again, as of a later keepalive
// perhaps, and nothing is said to its client. Safe for concurrent use.
type Keeper struct {
	cfg  Config
	wake wake.Signal

	mu sync.Mutex
	// fresh are those that were not renewed here yet; the wheels have the others. Guarded by mu.
	fresh, wheels wheels
	// bytes is what the holds of all sessions take, see keptBytes. Guarded by mu.
	bytes int
	// rests is until when the loop sleeps unless it is woken. Guarded by mu.
	rests time.Duration
	// flying are the requests under way, answered those to be looked at. Guarded by mu.
	flying   map[*group]struct{}
	answered []*group
	// told are sessions with something to hear, since when. Guarded by mu.
	told  []*Session
	since time.Duration

	// byPartition is the group that is being filled, for each partition. Only the loop uses it.
	byPartition map[uint32]*group
}

// New returns a keeper without holds. Run does its work.
func New(cfg Config) *Keeper {
	return &Keeper{cfg: cfg, wake: wake.New(), flying: map[*group]struct{}{}, byPartition: map[uint32]*group{}}
}

// group is one request to renew many holds of a partition.
type group struct {
	keeper *Keeper
	holds  []*kept
	began  time.Duration
	epoch  uint32
	bytes  int
	req    owner.Request
	to     *link.Link // nil for the local owner
	id     uint64
	// answer is the first that came; guarded by Keeper.mu.
	answer owner.Answer
	// settled: later answers are not heard. Guarded by Keeper.mu.
	settled bool
}

var _ owner.Caller = (*group)(nil)

// Alive implements owner.Caller.
func (*group) Alive() bool { return true }

// Answer implements owner.Caller.
func (g *group) Answer(_ uint64, a owner.Answer) {
	r := g.keeper
	r.mu.Lock()
	if !g.settled {
		g.settled, g.answer = true, a
		r.answered = append(r.answered, g)
	}
	first := len(r.answered) == 1
	r.mu.Unlock()
	if first {
		r.wake.Set()
	}
}

// Wake has the loop look at once at what is to be done.
func (r *Keeper) Wake() { r.wake.Set() }

// Run renews what is due, until ctx ends.
func (r *Keeper) Run(ctx context.Context) {
	timer := time.NewTimer(longestSleep)
	defer timer.Stop()
	for {
		changed := r.cfg.Views.Changed()
		timer.Reset(r.step())
		select {
		case <-r.wake:
		case <-timer.C:
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// step does what is due and returns how long nothing more will be.
func (r *Keeper) step() time.Duration {
	now, a := r.cfg.Clock(), r.cfg.Views.Now()
	if a == nil {
		return longestSleep
	}
	notReady := r.cfg.Ready()
	r.settleAll(now, func(g *group) bool { return notReady != nil || g.epoch != a.Epoch })
	groups, more := r.round(now, a, notReady)
	for _, g := range groups {
		r.send(now, a, g)
	}
	if more {
		return 0
	}
	return min(max(r.tellAll(now)-r.cfg.Clock(), 0), longestSleep)
}

// settleAll takes the answers that have come. Requests that moved, since there is a newer view or
// this node may not act any more (A1, Q4), are not waited for: nobody may answer them.
func (r *Keeper) settleAll(now time.Duration, moved func(*group) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for g := range r.flying {
		if !g.settled && moved(g) {
			g.settled, g.answer = true, owner.Answer{Outcome: owner.Retry}
			r.answered = append(r.answered, g)
		}
	}
	for len(r.answered) > 0 {
		g := r.answered[0]
		r.answered = r.answered[1:]
		r.settle(now, g)
		r.breathe()
	}
	r.answered = nil
}

// breathe lets others have mu, which the loop holds.
func (r *Keeper) breathe() {
	r.mu.Unlock()
	r.mu.Lock()
}

// tellAll lets the clients hear what became of their holds when nothing is under way any more, or
// some time after the first of it. It returns when the next hold is due, or the clients are to be
// told.
func (r *Keeper) tellAll(now time.Duration) time.Duration {
	r.mu.Lock()
	at := now + longestSleep
	for _, ws := range []*wheels{&r.fresh, &r.wheels} {
		if due, some := ws.due(); some {
			at = min(at, due)
		}
	}
	r.rests = at
	if len(r.told) > 0 && len(r.flying) > 0 && now-r.since < tellAfter {
		r.mu.Unlock()
		return min(at, r.since+tellAfter)
	}
	told := r.told
	r.told = nil
	heard := make([]news, len(told))
	for i, s := range told {
		heard[i], s.news = s.news, news{}
	}
	r.mu.Unlock()
	for i, s := range told {
		s.hear(&heard[i])
	}
	return at
}
