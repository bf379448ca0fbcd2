package cluster

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Kind names what a message says. The answer to a call between members, or a
// message of the other direction of a stream, has a kind of its own.
type Kind string

// The kinds of messages. Calls, Entries and Ping, and against them Answers, Acks and
// Pong, are parts of one stream between two members; a message of it that carries
// several is taken apart while there are rules. Session messages go between clients
// and nodes.
const (
	Probe          Kind = "Probe"
	Join           Kind = "Join"
	LeaseRequest   Kind = "Renew"
	Term           Kind = "Term"
	Install        Kind = "Install"
	Ask            Kind = "Ask"
	Fetch          Kind = "Fetch"
	Sync           Kind = "Sync"
	Active         Kind = "Active"
	ProbeAnswer    Kind = "Probe answer"
	JoinAnswer     Kind = "Join answer"
	LeaseAnswer    Kind = "Renew answer"
	TermAnswer     Kind = "Term answer"
	InstallAnswer  Kind = "Install answer"
	AskAnswer      Kind = "Ask answer"
	FetchAnswer    Kind = "Fetch answer"
	SyncAnswer     Kind = "Sync answer"
	ActiveAnswer   Kind = "Active answer"
	Calls          Kind = "calls"
	Entries        Kind = "entries"
	Ping           Kind = "ping"
	Answers        Kind = "answers"
	Acks           Kind = "acks"
	Pong           Kind = "pong"
	SessionCalls   Kind = "session calls"
	SessionAnswers Kind = "session answers"
)

// The numbers of what are not single nodes.
const (
	// Anyone is any node, and the clients.
	Anyone = -1
	// Clients are all clients together.
	Clients = -2
)

// Messages says which messages a rule is about.
type Messages struct {
	// From and To are numbers of nodes, Anyone or Clients.
	From, To int
	// Kinds are what they say; none is everything.
	Kinds []Kind
	// Share is how many of those messages meet the rule, by chance; 0 is all.
	Share float64
}

// Rule is what is done to some messages until it ends. The first rule that a
// message meets counts.
type Rule struct {
	rules *rules
	about Messages
	act   action
	// least and most bound how late a message is, or its repetition.
	least, most time.Duration
	until       chan struct{} // closed when the rule ends
	ended       sync.Once
	met         atomic.Int64
}

type action int

const (
	pass action = iota
	// hold: until the rule ends.
	hold
	// drop: what carries the message breaks, as after a real loss.
	drop
	// vanish: the message alone is lost.
	vanish
	// late: it comes later, and others may overtake it.
	late
	// repeat: it comes, and later once more.
	repeat
)

// Met is how many messages have met the rule.
func (r *Rule) Met() int { return int(r.met.Load()) }

// End ends the rule; what it holds goes on its way.
func (r *Rule) End() {
	r.rules.remove(r)
	r.ended.Do(func() { close(r.until) })
}

// WaitMet waits until n messages have met the rule.
func (r *Rule) WaitMet(ctx context.Context, n int) error {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for r.Met() < n {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("wait for %d messages of %v: %w: %d came", n, r.about, context.Cause(ctx), r.Met())
		}
	}
	return nil
}

// HoldMessages holds messages until the rule ends. They arrive then, even if nobody
// waits for the answer any more, but not on a stream that has broken meanwhile.
func (c *Cluster) HoldMessages(about Messages) *Rule { return c.rule(about, hold, 0, 0) }

// DropMessages loses messages as a network does: the caller hears nothing and takes
// the connection for broken, a stream is broken.
func (c *Cluster) DropMessages(about Messages) *Rule { return c.rule(about, drop, 0, 0) }

// VanishMessages loses Entries, Acks, Ping and Pong alone, so that what comes after
// them on the stream still arrives (A3: gaps). Others are dropped.
func (c *Cluster) VanishMessages(about Messages) *Rule { return c.rule(about, vanish, 0, 0) }

// DelayMessages makes each message come after between least and most. Others
// overtake it: that is how messages are reordered.
func (c *Cluster) DelayMessages(about Messages, least, most time.Duration) *Rule {
	return c.rule(about, late, least, most)
}

// RepeatMessages delivers each message, and once more after between least and most.
// Calls and session messages are not repeated: nothing comes twice on a stream, and Q2
// builds on that, since an id that was sent once need not be remembered. Who sends a
// request again is a node or a client.
func (c *Cluster) RepeatMessages(about Messages, least, most time.Duration) *Rule {
	return c.rule(about, repeat, least, most)
}

// LoseReplies drops every answer of node j to node i: the work is done, and i does
// not hear of it.
func (c *Cluster) LoseReplies(i, j int) *Rule {
	return c.DropMessages(Messages{From: j, To: i, Kinds: []Kind{
		ProbeAnswer, JoinAnswer, LeaseAnswer, TermAnswer, InstallAnswer, AskAnswer, FetchAnswer, SyncAnswer, ActiveAnswer, Answers, Acks, Pong,
	}})
}

func (c *Cluster) rule(about Messages, act action, least, most time.Duration) *Rule {
	c.memory()
	c.history.note(Event{Kind: Disturbed, What: fmt.Sprintf("%v %+v", act, about)})
	r := &Rule{rules: c.rules, about: about, act: act, least: least, most: most, until: make(chan struct{})}
	c.rules.add(r)
	return r
}

func (a action) String() string {
	return [...]string{"pass", "hold", "drop", "vanish", "delay", "repeat"}[a]
}

// rules are what is done to the messages of a cluster.
type rules struct {
	some atomic.Bool // there are rules
	work sync.WaitGroup

	mu     sync.Mutex
	list   []*Rule    // guarded by mu
	rnd    *rand.Rand // guarded by mu
	closed bool       // guarded by mu
	// done is closed when the cluster ends.
	done chan struct{}
}

func newRules(seed uint64) *rules {
	return &rules{rnd: rand.New(rand.NewPCG(seed, 2)), done: make(chan struct{})}
}

func (rs *rules) add(r *Rule) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	rs.list = append(rs.list, r)
	rs.some.Store(true)
}

func (rs *rules) remove(r *Rule) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	rs.list = slices.DeleteFunc(rs.list, func(o *Rule) bool { return o == r })
	rs.some.Store(len(rs.list) > 0)
}

// clear ends all rules.
func (rs *rules) clear() {
	rs.mu.Lock()
	list := slices.Clone(rs.list)
	rs.mu.Unlock()
	for _, r := range list {
		r.End()
	}
}

// close lets everything go and waits for what was held.
func (rs *rules) close() {
	rs.mu.Lock()
	if !rs.closed {
		rs.closed = true
		close(rs.done)
	}
	rs.mu.Unlock()
	rs.clear()
	rs.work.Wait()
}

// fate is what becomes of one message.
type fate struct {
	act   action
	rule  *Rule
	after time.Duration
}

// of decides about one message.
func (rs *rules) of(from, to int, k Kind) fate {
	if !rs.some.Load() {
		return fate{}
	}
	rs.mu.Lock()
	defer rs.mu.Unlock()
	for _, r := range rs.list {
		a := r.about
		if !(a.From == Anyone || a.From == from) || !(a.To == Anyone || a.To == to) || len(a.Kinds) > 0 && !slices.Contains(a.Kinds, k) {
			continue
		}
		if a.Share > 0 && rs.rnd.Float64() >= a.Share {
			continue
		}
		r.met.Add(1)
		f := fate{act: r.act, rule: r, after: r.least}
		if r.most > r.least {
			f.after += time.Duration(rs.rnd.Int64N(int64(r.most - r.least)))
		}
		return f
	}
	return fate{}
}

// wait returns when the message may go on; false if the cluster has ended, or ctx.
func (f fate) wait(ctx context.Context) bool {
	if f.act == hold {
		select {
		case <-f.rule.until:
			return true
		case <-ctx.Done():
			return false
		}
	}
	t := time.NewTimer(f.after)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-f.rule.rules.done:
		return false
	case <-ctx.Done():
		return false
	}
}

// later runs fn when the message may go on, unless the cluster has ended.
func (rs *rules) later(f fate, fn func()) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if rs.closed {
		return
	}
	rs.work.Go(func() {
		if f.wait(context.Background()) {
			fn()
		}
	})
}
