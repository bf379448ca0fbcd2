package view

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/sgkandale/sharelock/internal/release"
	"github.com/sgkandale/sharelock/internal/rules"
	"github.com/sgkandale/sharelock/internal/wake"
	"github.com/sgkandale/sharelock/ring"
)

// Agreement is what a leader needs of Raft. It has many methods, but every implementation has to
// implement all of them together.
type Agreement interface {
	// State returns what has been applied here.
	State() State
	// Lead commits the first command of a leadership, waits until it is applied here, and returns
	// the Raft term of its entry (V2).
	Lead(ctx context.Context) (term uint64, err error)
	// Propose replaces the view of epoch prev if the term fits (V2). applied is false if the
	// proposal was committed but had no effect; after is the state that follows. After an error the
	// proposal may still take effect.
	Propose(ctx context.Context, prev uint32, term uint64, v ring.View) (after State, applied bool, err error)
	// Term and Applied return this process's Raft term and last applied index. Leads reports
	// whether Raft considers this process the leader.
	Term() uint64
	Applied() uint64
	Leads() bool
	// Seats returns the servers of Raft's configuration; Reseat changes it.
	Seats() ([]Seat, error)
	Reseat(ctx context.Context, c Change) error
	// Settle returns nil when everything that was appended before the call, changes of the
	// configuration included, is committed and applied here.
	Settle(ctx context.Context) error
}

// Peers is what a leader asks of other processes.
type Peers interface {
	// Vote asks the process with this id for its vote, read after the request arrived (V4).
	Vote(ctx context.Context, id string) (Vote, error)
	// Install sends a member a view. It returns when the member no longer acts in an older one.
	Install(ctx context.Context, m ring.Member, s State) error
	// TakeOver tells the voter with this id that it is about to be handed leadership, and because
	// of which member's silence. term is the term of the leadership that ends (V5).
	TakeOver(ctx context.Context, id string, term uint64, silent ring.Identity) error
}

// Vote is what a process says about its vote.
type Vote struct {
	// Term is its Raft term.
	Term uint64
	// Applied is the index of the last entry of Raft's log that it has applied.
	Applied uint64
	// Abstains reports that its vote must not be counted on when seats change: the process may
	// stop (V7), or it cannot write its vote to disk (V1).
	Abstains bool
}

// LeaderConfig configures a Leader. A field is required unless its comment says otherwise.
type LeaderConfig struct {
	// Self is the stable id of this process.
	Self      string
	Agreement Agreement
	Peers     Peers
	// Clock is read for every wait; it counts suspended time too.
	Clock func() time.Duration
	// Spawn starts a goroutine that ends soon, or returns false because the process
	// is stopping.
	Spawn func(func()) bool
	// Prepare is called when `lead` has been applied, before any lease is renewed. It may be nil.
	Prepare func(context.Context) error
	// Nearby returns the releases of live processes that follow the cluster and may be about to
	// join the view. It may be nil.
	Nearby func() []uint32
	// Called reports whether a member's own calls have recently reached this process (V5).
	Called func(ring.Identity) bool
	// Named are the members whose silence is why this process was handed leadership. It does not
	// hand over for the same silence again (V5). Named may be nil.
	Named []ring.Identity
	Log   *slog.Logger
	// Memory is what earlier leaderships of this process have left for this one. It may be nil.
	Memory *Memory
	// Stopping is closed when this process ends. It may be nil.
	Stopping <-chan struct{}
	// Dismiss tells this process that it may stop (V7). It may be nil.
	Dismiss func()
	// SeatGrace is how long an absent voter beyond three keeps its seat (V1).
	SeatGrace time.Duration
	// Program is the range of releases that this program works with; zero means its own range.
	Program release.Range
}

// Leader is one leadership, from the commit of its `lead` until Raft's leadership is lost. It
// grants leases (V4), admits processes (V3), removes members (V5), lets members leave (V7) and
// assigns seats (V1). Its state, except Memory, ends with it. Its methods are safe for concurrent
// use; Run is called once.
type Leader struct {
	self   string
	agree  Agreement
	peers  Peers
	clock  func() time.Duration
	spawn  func(func()) bool
	ctx    context.Context //nolint:containedctx // the lifetime of the leadership
	term   uint64          // the term of its own `lead` (V2)
	log    *slog.Logger
	rounds rounds
	relay  *relay
	called func(ring.Identity) bool
	kick   wake.Signal
	done   sync.WaitGroup // Run waits for it
	grace  time.Duration  // the seat grace (V1)

	stopping <-chan struct{}
	dismiss  func()

	mu sync.Mutex
	// members is what the leader knows of each member of the view. Guarded by mu.
	members map[ring.Identity]*standing
	// joins are the requests for admission, by id. Guarded by mu.
	joins map[string]joining
	// asked is when each process last asked to join or for a renewal, granted or not, by id.
	// Processes that are no longer heard are soon removed from it. Guarded by mu.
	asked map[string]time.Duration
	// memory outlives this leadership. Guarded by mu.
	memory *Memory
	// step is when notice was last called; a long gap means that the leader was paused (V5).
	// Guarded by mu.
	step time.Duration
	// program and nearby are those of LeaderConfig.
	program release.Range
	nearby  func() []uint32
	// heldBack is what, according to the last log line, holds back the view's release (W1). Guarded
	// by mu.
	heldBack string
	// turnedAway are the processes that were refused for their release (W2), by id. Those that are
	// no longer heard are removed, as from asked. Guarded by mu.
	turnedAway map[string]ring.Identity

	// stops is about the processes that were told to stop (V7). Guarded by mu.
	stops stops
	// absences holds, by id, since when each absent voter has not answered (V1). Guarded by mu.
	absences map[string]time.Duration
	// given are the absent voters whose seats an operator gives up (V1). Guarded by mu.
	given map[string]bool
	// promoted holds, by id, when this leader made a process a voter (V5). Guarded by mu.
	promoted map[string]time.Duration
	// missing names the absent voters, as last logged; only keepVoters uses it.
	missing string
	// failed is the change that failed last, and when that was logged; only keepVoters uses it.
	failed struct {
		change Change
		at     time.Duration
	}

	// epoch is the epoch of the view whose members are in members. Guarded by mu.
	epoch uint32
	// chosen is the member that the next view marks leaving (V6a), the zero Identity if there is
	// none. Guarded by mu.
	chosen ring.Identity
	// named are the members for whose silence no hand-over is due (V5). Guarded by mu.
	named map[ring.Identity]bool
	// choosing is since when a choice is pending (V6), 0 if none is. said is when report last
	// logged something. Guarded by mu.
	choosing, said time.Duration
}

// standing is what a leader knows of one member.
type standing struct {
	// renewed is when the last request for a lease that was granted arrived (V5).
	renewed time.Duration
	// assumed: no request arrived at renewed; V5 counts the member as renewed then. V6 does not,
	// because the member may be dead.
	assumed bool
	// stopped: it is not renewed, because a proposal to remove it is not decided yet (V5) or
	// because it has left (V7).
	stopped bool
	// replaced: a later start of the same process asks to join.
	replaced bool
	// double is a notice for the member: at doubled, a process with its id and no higher counter
	// was refused, which has a copy of its data directory. "" means no notice (V3).
	double  string
	doubled time.Duration
	// leaving: it asked to leave; left: it gave up its lease (V7).
	leaving, left bool
	// refresh: it needs a new epoch (G2).
	refresh bool
	// complaints are the members of which it complains, each with the arrival of the renewal that
	// said so first (V6).
	complaints map[ring.Identity]time.Duration
	// epoch is the epoch that its last renewal named.
	epoch uint32
	// told: it is marked, and G1 has told it of every partition since (V6a).
	told bool
	// callers are the members whose own calls reach it, if it is a voter (V5).
	callers map[ring.Identity]bool
	// mute: it cannot write its votes to disk, so it does not vote (V1).
	mute bool
	// misses are the recent times at which it became late. late: it is late now (V6).
	misses []time.Duration
	late   bool
	// handed: the leader began to hand over leadership because of its silence, at handedAt (V5).
	handed   bool
	handedAt time.Duration
	// deadHeirs are voters that did not answer when they were to take over because of its silence,
	// and when that was; triedAt is when the first of them was asked.
	deadHeirs map[string]time.Duration
	triedAt   time.Duration
	// marked is since when it has been marked leaving, 0 if it is not.
	marked time.Duration
	// deaf: it renews but answers nothing else, so it is removed as V5 says (V6a).
	deaf bool
}

// Lead begins a leadership that lasts until ctx ends. It returns after its `lead` was applied.
// Before that no lease is renewed and nothing is proposed, because the leader has not yet seen
// everything that its predecessors decided (V2).
func Lead(ctx context.Context, cfg LeaderConfig) (*Leader, error) {
	term, err := cfg.Agreement.Lead(ctx)
	if err == nil && cfg.Prepare != nil {
		err = cfg.Prepare(ctx)
	}
	if err != nil {
		return nil, err
	}
	return newLeader(ctx, cfg, term), nil
}

func newLeader(ctx context.Context, cfg LeaderConfig, term uint64) *Leader {
	l := &Leader{
		self: cfg.Self, agree: cfg.Agreement, peers: cfg.Peers, clock: cfg.Clock, spawn: cfg.Spawn,
		ctx: ctx, term: term, log: cfg.Log.With("term", term),
		kick:     wake.New(),
		members:  map[ring.Identity]*standing{},
		joins:    map[string]joining{},
		asked:    map[string]time.Duration{},
		memory:   cfg.Memory,
		step:     cfg.Clock(),
		grace:    cfg.SeatGrace,
		stopping: cfg.Stopping,
		dismiss:  cfg.Dismiss,
		stops:    newStops(),
		absences: map[string]time.Duration{},
		given:    map[string]bool{},
		promoted: map[string]time.Duration{},
		called:   cfg.Called,
		named:    identitySet(cfg.Named),

		program: cfg.Program.OrOwn(), nearby: cfg.Nearby, turnedAway: map[string]ring.Identity{},
	}
	if l.memory == nil {
		l.memory = &Memory{}
	}
	l.relay = newRelay(cfg.Clock, func() time.Duration { return l.lease() / 2 })
	l.rounds.confirm, l.rounds.spawn = l.confirm, l.spawn
	// V5: a new leader knows nothing of its predecessor's leases; it counts every
	// member as having renewed when its `lead` was applied.
	renewed := l.step
	view := cfg.Agreement.State().View()
	l.epoch = view.Epoch
	for _, m := range view.Members {
		l.members[m.Identity] = &standing{renewed: renewed, assumed: true}
	}
	return l
}

func identitySet(list []ring.Identity) map[ring.Identity]bool {
	set := make(map[ring.Identity]bool, len(list))
	for _, i := range list {
		set[i] = true
	}
	return set
}

// lease returns L as agreed through Raft. The waits of V5 must use no other value.
func (l *Leader) lease() time.Duration {
	return l.agree.State().Constants().Lease()
}

// wake makes Run call look again soon.
func (l *Leader) wake() { l.kick.Set() }

// Run leads until the leadership's context ends.
func (l *Leader) Run() {
	l.log.Info("became the leader")
	defer l.log.Info("no longer the leader")
	defer l.done.Wait()
	l.done.Go(func() { l.keepVoters(l.ctx) })
	l.done.Go(func() { l.watchPauses(l.ctx) })
	tick := time.NewTicker(l.interval())
	defer tick.Stop()
	for {
		select {
		case <-l.ctx.Done():
			l.sayFarewell(tick.C)
			return
		case <-tick.C:
		case <-l.kick:
		}
		l.look(l.ctx)
	}
}

// interval is how often the leader looks at everything.
func (l *Leader) interval() time.Duration { return max(l.lease()/20, time.Millisecond) }

// watchPauses calls notice regularly, also while look waits for a proposal: a slow proposal is not
// a pause, but the process may be paused during a proposal.
func (l *Leader) watchPauses(ctx context.Context) {
	tick := time.NewTicker(l.interval())
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			l.mu.Lock()
			l.notice(l.clock())
			l.mu.Unlock()
		}
	}
}

// notice restarts the waits if its last call was so long ago that the process must have been paused
// (V5). It needs l.mu.
func (l *Leader) notice(now time.Duration) {
	if now-l.step > l.lease()/2 {
		l.startAgain(now)
	}
	l.step = max(l.step, now)
}

// look proposes a new view or hands over leadership, if either is due.
func (l *Leader) look(ctx context.Context) {
	now := l.clock()
	s := l.agree.State()
	l.mu.Lock()
	l.notice(now)
	l.keepStandings(now, s.View())
	if l.closes(now, s.View()) {
		l.mu.Unlock()
		l.dismissAll(now)
		return
	}
	l.findDeaf(now, s.View())
	chosen, heir := l.choose(now, s.View())
	l.chosen = chosen.Identity
	if heir == "" {
		heir = l.yield(now, s.View())
	}
	d := l.draft(now, s.View())
	lonely := len(d.silent) > 0 && !l.hearsMajority(now)
	due := !lonely && d.heir == "" && heir == "" && d.why() != "" && len(d.view.Members) > 0
	if due {
		// V5: a member that is to be removed is not renewed, from before the proposal until it is
		// decided.
		for _, m := range d.removed() {
			l.members[m.Identity].stopped = true
		}
	}
	switch {
	case lonely:
	case d.heir != "":
		st := l.members[d.unheard]
		st.handed, st.handedAt = true, now
	case heir != "":
		l.memory.yielded = handOver{true, now}
	}
	l.report(now, s.View())
	l.mu.Unlock()
	switch {
	case lonely:
		l.handOver(ctx, now)
	case d.heir != "":
		l.log.Warn("not hearing from a member that another voter hears from: handing over leadership", "to", d.heir, "member", d.unheard.String())
		l.handTo(ctx, d.heir, d.unheard)
	case heir != "":
		l.handTo(ctx, heir, ring.Identity{})
	case due:
		l.propose(ctx, s, d)
	}
}

// findDeaf finds marked members that renew but answer nothing else: the mesh does not wait for them
// (V6a). They are not renewed any more. It needs l.mu.
func (l *Leader) findDeaf(now time.Duration, view ring.View) {
	for _, m := range view.Members {
		if st := l.members[m.Identity]; m.Leaving && !st.deaf && l.relay.deaf(now, m.Identity, 2*l.lease()) {
			l.log.Warn("removing a leaving member that renews but answers nothing", "member", m.Name)
			st.deaf = true
		}
	}
}

// report logs, at most every few leases, what has been pending for long: a choice, or the removal
// of a marked member. It needs l.mu.
func (l *Leader) report(now time.Duration, view ring.View) {
	long := 5 * l.lease()
	if now-l.said < long {
		return
	}
	if l.choosing > 0 && now-l.choosing >= long {
		l.said = now
		l.log.Warn("members complain about each other, and none can be chosen to be marked", "for", now-l.choosing)
	}
	for _, m := range view.Members {
		if st := l.members[m.Identity]; st.marked > 0 && now-st.marked >= long {
			l.said = now
			l.log.Warn("a leaving member has not been told of every partition yet", "member", m.Name, "for", now-st.marked)
		}
	}
}

// startAgain restarts the leader's waits, because it was paused (V5). It needs l.mu.
func (l *Leader) startAgain(now time.Duration) {
	l.log.Warn("this leader was paused: restarting its waits", "for", now-l.step)
	for _, m := range l.members {
		m.renewed, m.assumed, m.complaints = max(m.renewed, now), true, nil
	}
	l.joins = map[string]joining{}
}

// keepStandings keeps exactly one standing for each member of the view, and forgets what is out of
// date. A member that a later start of its process asks to replace is not renewed any more (V5). It
// needs l.mu.
func (l *Leader) keepStandings(now time.Duration, view ring.View) {
	members := make(map[ring.Identity]*standing, len(view.Members))
	for _, m := range view.Members {
		st := l.members[m.Identity]
		if st == nil {
			st = &standing{renewed: now}
		}
		if view.Epoch != l.epoch {
			// What was reported in an older view no longer counts (V6a).
			st.complaints, st.told, st.misses, st.late = nil, false, nil, false
		}
		switch {
		case !m.Leaving:
			st.marked = 0
		case st.marked == 0:
			st.marked = max(now, 1)
		}
		if j, ok := l.joins[m.ID]; ok && m.Counter < j.member.Counter && j.fresh(now, l.lease()) && !j.double() {
			st.replaced = true
		} else {
			st.replaced = false
		}
		members[m.Identity] = st
	}
	l.members, l.epoch = members, view.Epoch
	l.relay.keep(view)
	maps.DeleteFunc(l.joins, func(_ string, j joining) bool { return !j.fresh(now, l.lease()) })
	l.memory.noteMembers(now, view.Members)
	l.stops.forgetGone(now)
	maps.DeleteFunc(l.asked, func(_ string, at time.Duration) bool { return now-at >= rules.Stretch(l.lease()) })
	maps.DeleteFunc(l.turnedAway, func(id string, _ ring.Identity) bool { _, asks := l.asked[id]; return !asks })
}

// propose commits a view and sends it to its members.
func (l *Leader) propose(ctx context.Context, s State, d draft) {
	ctx, cancel := context.WithTimeout(ctx, 10*l.lease())
	defer cancel()
	if _, err := ring.Build(d.view, int(s.Cluster.GetPartitions())); err != nil {
		l.log.Error("view not proposed", "why", d.why(), "error", err)
		return
	}
	after, applied, err := l.agree.Propose(ctx, s.Epoch(), l.term, d.view)
	if err != nil {
		// Undecided: members whose renewals were stopped are not renewed before it is decided.
		l.log.Warn("proposal undecided", "prev", s.Epoch(), "why", d.why(), "error", err)
		return
	}
	l.settle(d, applied, after.View())
	if !applied {
		l.log.Warn("proposal had no effect", "prev", s.Epoch(), "why", d.why())
		return
	}
	l.log.Info("new view", "epoch", after.Epoch(), "why", d.why(), "view", after.View().String())
	for _, m := range after.View().Members {
		l.spawn(func() { l.push(ctx, m, after) })
	}
}

// settle updates the leader's state after a proposal was decided.
func (l *Leader) settle(d draft, applied bool, view ring.View) {
	now := l.clock()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, m := range d.removed() {
		if st := l.members[m.Identity]; st != nil && !applied && !st.left {
			st.stopped = false
		}
	}
	if !applied {
		return
	}
	for _, m := range slices.Concat(d.silent, d.told) {
		l.memory.noteRemoval(placeOf(m), now, l.lease())
	}
	for _, m := range d.refreshed {
		l.members[m.Identity].refresh = false
	}
	for _, m := range d.joining {
		delete(l.joins, m.ID)
	}
	l.keepStandings(now, view)
}

// push sends a member the new view at once, before its next renewal.
func (l *Leader) push(ctx context.Context, m ring.Member, s State) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), l.lease()/2)
	defer cancel()
	if err := l.peers.Install(ctx, m, s); err != nil {
		l.log.Debug("view not pushed", "member", m.Name, "epoch", s.Epoch(), "error", err)
	}
}
