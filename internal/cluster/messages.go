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

// Kind is the kind of a message. The answer to a call between members has a kind of its own,
// and so has a message in the other direction of a stream.
type Kind string

// The kinds of messages. A stream between two members carries Calls, Entries and Ping in one
// direction, Answers, Acks and Pong in the other. One message may carry several kinds; while
// there are rules, it is split. Session messages go between clients and nodes.
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

// Numbers that stand for more than one node.
const (
	// Anyone is any node or client.
	Anyone = -1
	// Clients stands for all clients.
	Clients = -2
)

// Messages selects the messages of a rule.
type Messages struct {
	// From and To are numbers of nodes, Anyone or Clients.
	From, To int
	// Kinds are the kinds of messages; empty means all.
	Kinds []Kind
	// Share is the fraction of those messages, chosen at random, that the rule matches; 0 means all.
	Share float64
}

// Rule says what happens to some messages until it ends. The first rule that matches a
// message applies.
type Rule struct {
	rules *rules
	about Messages
	act   action
	// least and most bound the delay of a message, or of its repetition.
	least, most time.Duration
	until       chan struct{} // closed when the rule ends
	ended       sync.Once
	met         atomic.Int64
}

type action int

const (
	pass action = iota
	// hold: the message waits until the rule ends.
	hold
	// drop: the stream or call that carries the message breaks, as after a real loss.
	drop
	// vanish: only the message is lost.
	vanish
	// late: the message is delayed, and others may overtake it.
	late
	// repeat: the message is delivered, and delivered again later.
	repeat
)

// Met returns how many messages the rule has matched.
func (r *Rule) Met() int { return int(r.met.Load()) }

// End ends the rule. Messages that it holds are delivered.
func (r *Rule) End() {
	r.rules.remove(r)
	r.ended.Do(func() { close(r.until) })
}

// WaitMet waits until the rule has matched n messages.
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

// HoldMessages holds messages until the rule ends. They are delivered then, even if nobody
// waits for the answer any more, but not on a stream that has broken meanwhile.
func (c *Cluster) HoldMessages(about Messages) *Rule { return c.rule(about, hold, 0, 0) }

// DropMessages loses messages as a network does: the caller gets no answer and considers the
// connection broken. A stream breaks.
func (c *Cluster) DropMessages(about Messages) *Rule { return c.rule(about, drop, 0, 0) }

// VanishMessages loses only Entries, Acks, Ping and Pong, so that later messages on the stream
// still arrive (A3: gaps). Other kinds are dropped.
func (c *Cluster) VanishMessages(about Messages) *Rule { return c.rule(about, vanish, 0, 0) }

// DelayMessages delays each message by a time between least and most. Later messages
// overtake it, so this also reorders messages.
func (c *Cluster) DelayMessages(about Messages, least, most time.Duration) *Rule {
	return c.rule(about, late, least, most)
}

// RepeatMessages delivers each message, and again after a time between least and most. Calls
// and session messages are not repeated: nothing arrives twice on a stream, and Q2 relies on
// that, because an id that was sent once need not be remembered. Only a node or a client sends
// a request again.
func (c *Cluster) RepeatMessages(about Messages, least, most time.Duration) *Rule {
	return c.rule(about, repeat, least, most)
}

// LoseReplies drops every answer of node j to node i: j does the work, and i does not learn of it.
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

// rules holds the rules for the messages of a cluster.
type rules struct {
	some atomic.Bool // there is at least one rule
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

// close delivers what is held and waits for it.
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

// fate says what happens to one message.
type fate struct {
	act   action
	rule  *Rule
	after time.Duration
}

// of returns the fate of one message.
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

// wait blocks until the message may go on. It returns false if the cluster or ctx ended first.
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

// later runs fn when the message may go on, unless the cluster ends first.
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
