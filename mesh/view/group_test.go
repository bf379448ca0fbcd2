package view

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
	"google.golang.org/protobuf/proto"

	"github.com/sgkandale/sharelock/internal/invariant"
	"github.com/sgkandale/sharelock/internal/virtual"
	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
	"github.com/sgkandale/sharelock/ring"
)

// lease is L in these tests, limit is L stretched.
const (
	lease = 2 * time.Second
	limit = 2200 * time.Millisecond
)

// group is a Raft group that a test drives by hand, in virtual time: elections happen on demand,
// entries are appended and committed separately, and several processes may believe that they are
// the leader of the one log that they share.
//
// It checks the two guarantees: no process holds a lease while a view without it is in force, and
// no process is admitted to a view that has not reached the members that stay.
type group struct {
	t       *testing.T
	start   time.Time
	members []*member

	mu      sync.Mutex
	log     []*raft.Log
	procs   map[string]*proc
	seats   []Seat
	term    uint64
	seconds uint64 // the wall clock
	skipped time.Duration
	// byHand: nothing is committed before commit is called.
	byHand bool
	// views are those that came into force, and when.
	views []inForce
	// reached are the members that a joiner says it has reached.
	reached map[ring.Identity][]ring.Identity
	// transfers are the times at which leadership was to be handed over, heirs the voters to which,
	// and named the members whose silence was the reason.
	transfers []time.Duration
	heirs     []string
	named     []ring.Identity
	// calls are the members whose own calls reach a process, by its id (V5).
	calls map[string]string
	// held delays the answers to Vote and Install; processes that are down do not answer.
	held chan struct{}
	down map[string]bool
}

type inForce struct {
	at   time.Duration
	view ring.View
}

// proc is one process of a group. It is an Agreement.
type proc struct {
	g       *group
	id      string
	fsm     *fsm
	term    uint64
	leads   bool
	applied int // entries
	waits   map[int]chan outcome
	stop    context.CancelFunc
	leader  atomic.Pointer[Leader]
	memory  Memory
	// abstains: its vote must not be counted on.
	abstains bool
	// settled is what Settle returns.
	settled error
	// gate, if it is not nil, is where Propose waits before it appends.
	gate chan struct{}
}

var (
	_ Agreement = (*proc)(nil)
	_ Peers     = (*group)(nil)
)

// play runs a test in virtual time with a group that has these seats ("b*" is a non-voter) and has
// founded a cluster of these members.
func play(t *testing.T, seats, members string, test func(t *testing.T, g *group)) {
	t.Helper()
	virtual.Test(t, func(t *testing.T) {
		test(t, newGroup(t, seats, members))
		synctest.Wait()
	})
}

func newGroup(t *testing.T, seats, members string) *group {
	g := &group{t: t, start: time.Now(), seats: seatsOf(seats), procs: map[string]*proc{}, down: map[string]bool{}, reached: map[ring.Identity][]ring.Identity{}, calls: map[string]string{}}
	for _, s := range g.seats {
		g.procs[s.ID] = &proc{g: g, id: s.ID, fsm: &fsm{changed: make(chan struct{}, 1)}, waits: map[int]chan outcome{}}
	}
	first := viewOf(strings.Fields(members)...)
	for _, m := range first.Members {
		g.members = append(g.members, &member{g: g, who: m.Identity, rate: 1})
	}
	g.append(0, foundCommand(&peerv1.Cluster{Id: []byte("one"), Partitions: 8, LeaseNs: int64(lease)}, 10, first))
	g.commit()
	return g
}

func (g *group) clock() time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	return time.Since(g.start) + g.skipped
}

// skip pauses every process for this long.
func (g *group) skip(d time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.skipped += d
}

// append adds an entry to the log, and returns its index.
func (g *group) append(term uint64, c *peerv1.Command) int {
	data, err := proto.Marshal(c)
	if err != nil {
		g.t.Fatal(err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.log = append(g.log, &raft.Log{Index: uint64(len(g.log) + 1), Term: term, Data: data})
	return len(g.log)
}

// commit commits everything that was appended, and applies it everywhere.
func (g *group) commit() {
	now := g.clock()
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, p := range g.procs {
		for p.applied < len(g.log) {
			entry := g.log[p.applied]
			out := p.fsm.Apply(entry).(outcome)
			p.applied++
			if w := p.waits[int(entry.Index)]; w != nil {
				w <- out
			}
			if v := out.state.View(); out.applied && (len(g.views) == 0 || g.views[len(g.views)-1].view.Epoch < v.Epoch) {
				g.checkReached(v)
				g.views = append(g.views, inForce{now, v})
				for _, m := range g.members {
					m.check(now, v)
				}
			}
		}
	}
}

// now returns the view in force.
func (g *group) now() inForce {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.views[len(g.views)-1]
}

// names returns the members of the view in force. "b'" is a later start of b, and "b*" is a member
// that is marked leaving.
func (g *group) names() string {
	var names []string
	for _, m := range g.now().view.Members {
		name := m.ID + strings.Repeat("'", int(m.Counter)-1)
		if m.Leaving {
			name += "*"
		}
		names = append(names, name)
	}
	return strings.Join(names, " ")
}

// want checks the view in force, and when it came.
func (g *group) want(names string, from, to time.Duration) {
	g.t.Helper()
	got, want := strings.Fields(g.names()), strings.Fields(names)
	missing := func(in []string) func(string) bool {
		return func(name string) bool { return !slices.Contains(in, name) }
	}
	at := g.now().at
	switch {
	case slices.ContainsFunc(want, missing(got)):
		g.t.Errorf("%s: at %v the view is %v, want %v", invariant.LiveStay, g.clock(), got, want)
	case slices.ContainsFunc(got, missing(want)):
		g.t.Errorf("%s: at %v the view is %v, want %v", invariant.DeadGo, g.clock(), got, want)
	case !slices.Equal(got, want):
		g.t.Errorf("at %v the view is %v, want %v", g.clock(), got, want)
	case at < from:
		g.t.Errorf("%s: the view %v came at %v, want %v to %v", invariant.LiveStay, want, at, from, to)
	case at > to:
		g.t.Errorf("%s: the view %v came at %v, want %v to %v", invariant.DeadGo, want, at, from, to)
	}
}

// elect makes a process the leader of a new term. Only it and its voters know of that.
func (g *group) elect(id string, voters ...string) *proc {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.term++
	for _, v := range voters {
		g.procs[v].term, g.procs[v].leads = g.term, false
	}
	p := g.procs[id]
	p.term, p.leads = g.term, true
	return p
}

// lead runs a leader in a process that was elected, as soon as its `lead` is applied.
//
// The silence of the named members is why the process was handed leadership.
func (p *proc) lead(named ...ring.Identity) *proc {
	ctx, cancel := context.WithCancel(p.g.t.Context())
	p.stop = cancel
	go func() {
		l, err := Lead(ctx, LeaderConfig{
			Self: p.id, Agreement: p, Peers: p.g, Clock: p.g.clock, Log: slog.New(slog.DiscardHandler),
			Spawn:  func(fn func()) bool { go fn(); return true },
			Called: func(m ring.Identity) bool { return slices.Contains(p.g.callersOf(p.id), m) },
			Named:  named, Memory: &p.memory,
		})
		if err != nil {
			return
		}
		p.leader.Store(l)
		l.Run()
		p.leader.CompareAndSwap(l, nil)
	}()
	synctest.Wait()
	return p
}

// do appends a command and waits until it is applied here.
func (p *proc) do(ctx context.Context, c *peerv1.Command) (outcome, error) {
	p.g.mu.Lock()
	term, byHand, leads := p.term, p.g.byHand, p.term == p.g.term
	p.g.mu.Unlock()
	if !leads { // no other process accepts what it appends
		<-ctx.Done()
		return outcome{}, ctx.Err()
	}
	done := make(chan outcome, 1)
	index := p.g.append(term, c)
	p.g.mu.Lock()
	p.waits[index] = done
	p.g.mu.Unlock()
	if !byHand {
		p.g.commit()
	}
	select {
	case out := <-done:
		return out, nil
	case <-ctx.Done():
		return outcome{}, ctx.Err()
	}
}

func (p *proc) State() State { return p.fsm.state() }

func (p *proc) Applied() uint64 {
	p.g.mu.Lock()
	defer p.g.mu.Unlock()
	return uint64(p.applied)
}

func (p *proc) Lead(ctx context.Context) (uint64, error) {
	out, err := p.do(ctx, leadCommand())
	return out.term, err
}

func (p *proc) Propose(ctx context.Context, prev uint32, term uint64, v ring.View) (State, bool, error) {
	if ctx.Err() != nil {
		return State{}, false, ctx.Err()
	}
	if p.gate != nil {
		<-p.gate
	}
	p.g.mu.Lock()
	seconds := p.g.seconds
	p.g.mu.Unlock()
	out, err := p.do(ctx, proposeCommand(prev, term, seconds, v))
	return out.state, out.applied, err
}

func (p *proc) Term() uint64 {
	p.g.mu.Lock()
	defer p.g.mu.Unlock()
	return p.term
}

func (p *proc) Leads() bool {
	p.g.mu.Lock()
	defer p.g.mu.Unlock()
	return p.leads
}

func (p *proc) Seats() ([]Seat, error) { return slices.Clone(p.g.seats), nil }

func (p *proc) Reseat(_ context.Context, c Change) error {
	now := p.g.clock()
	p.g.mu.Lock()
	defer p.g.mu.Unlock()
	if c.kind == changeTransfer {
		p.g.transfers, p.g.heirs = append(p.g.transfers, now), append(p.g.heirs, c.id)
	}
	return errors.New("seats do not change in this test")
}

func (p *proc) Settle(context.Context) error { return p.settled }

// Vote answers for the process with this id. The answer is read at once, and arrives when held does
// not delay it.
func (g *group) Vote(ctx context.Context, id string) (v Vote, err error) {
	g.mu.Lock()
	p, held, down := g.procs[id], g.held, g.down[id]
	if p != nil {
		v = Vote{Term: p.term, Abstains: p.abstains}
	}
	g.mu.Unlock()
	if down || p == nil {
		<-ctx.Done()
		return Vote{}, ctx.Err()
	}
	if held != nil {
		select {
		case <-held:
		case <-ctx.Done():
			return Vote{}, ctx.Err()
		}
	}
	return v, nil
}

// TakeOver records the member that was named, unless the process with this id is down.
func (g *group) TakeOver(_ context.Context, id string, _ uint64, silent ring.Identity) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.down[id] {
		return errors.New("nobody answers")
	}
	g.named = append(g.named, silent)
	return nil
}

// callersOf returns the members whose calls reach a process now.
func (g *group) callersOf(id string) []ring.Identity {
	g.mu.Lock()
	names := g.calls[id]
	g.mu.Unlock()
	var list []ring.Identity
	for name := range strings.FieldsSeq(names) {
		list = append(list, g.member(name).who)
	}
	return list
}

// reach sets the members whose own calls reach a process.
func (g *group) reach(id, callers string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.calls[id] = callers
}

// Install succeeds for members that are not down.
func (g *group) Install(ctx context.Context, m ring.Member, _ State) error {
	g.mu.Lock()
	down := g.down[m.ID]
	g.mu.Unlock()
	if down {
		<-ctx.Done()
		return ctx.Err()
	}
	return nil
}

func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// pass waits until the given time, and until everything that is due then has happened.
func (g *group) pass(until time.Duration) {
	time.Sleep(until - g.clock())
	synctest.Wait()
}
