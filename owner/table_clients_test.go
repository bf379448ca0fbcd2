package owner

import (
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/invariant"
	"github.com/sgkandale/sharelock/ring"
)

// judge checks, at every answer at the table, what all schedules demand: at most
// one client whose own deadline has not passed believes it holds a key, tokens
// that are answered for a key only grow, one request id never has two tokens, and
// whoever answers has a lease. When all is at rest it looks for what was granted in
// the copies. It knows mutexes only.
type judge struct {
	t  *testing.T
	mu sync.Mutex
	// epochs are the newest in which each process was seen. Guarded by mu.
	epochs map[ring.Identity]uint32
	// fresh are grants that were answered since all was at rest last. Guarded by mu.
	fresh   []freshGrant
	largest map[string]sharelock.Token    // by key; guarded by mu
	tokens  map[requestOf]sharelock.Token // guarded by mu
	// believes is until when, in real time, the client that got a token takes the
	// key for its own. Guarded by mu.
	believes map[string]map[sharelock.Token]time.Time
}

type requestOf struct{ key, id string }

// freshGrant is a grant, and the member that answered it.
type freshGrant struct {
	key   string
	at    *seated
	token sharelock.Token
}

func newJudge(t *testing.T) *judge {
	return &judge{
		t: t, largest: map[string]sharelock.Token{}, tokens: map[requestOf]sharelock.Token{},
		believes: map[string]map[sharelock.Token]time.Time{}, epochs: map[ring.Identity]uint32{},
	}
}

// decided hears what an owner has answered, whether or not that arrives.
func (j *judge) decided(r *Request, at *seated, token sharelock.Token) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.fresh = append(j.fresh, freshGrant{r.Key, at, token})
	id := requestOf{r.Key, r.RequestID}
	switch known := j.tokens[id]; {
	case known == token:
	case known != 0:
		j.t.Errorf("%s: request %s of %s got the tokens %d and %d", invariant.OneGrant, r.RequestID, r.Key, known, token)
	case token <= j.largest[r.Key]:
		j.t.Errorf("%s: %s was answered token %d after %d", invariant.TokensGrow, r.Key, token, j.largest[r.Key])
	default:
		j.tokens[id], j.largest[r.Key] = token, token
	}
}

// heard hears what has arrived: the client believes until the given moment.
func (j *judge) heard(r *Request, token sharelock.Token, until time.Time) {
	j.mu.Lock()
	defer j.mu.Unlock()
	now := time.Now()
	if !until.After(now) {
		return // Q3: what the client sent was too long ago
	}
	if j.believes[r.Key] == nil {
		j.believes[r.Key] = map[sharelock.Token]time.Time{}
	}
	for other, end := range j.believes[r.Key] {
		if other != token && end.After(now) {
			j.t.Errorf("%s: %s has two holders: token %d until %v from now, and token %d for %v", invariant.OneHolder, r.Key, other, end.Sub(now), token, until.Sub(now))
		}
	}
	if until.After(j.believes[r.Key][token]) {
		j.believes[r.Key][token] = until
	}
}

// ended: whoever had the token has given it up, or is told that it was taken.
func (j *judge) ended(r *Request) {
	j.mu.Lock()
	defer j.mu.Unlock()
	switch r.Kind {
	case Release:
		delete(j.believes[r.Key], r.Token)
	case Cancel:
		if r.Drop {
			delete(j.believes[r.Key], j.tokens[requestOf{r.Key, r.RequestID}])
		}
	case Force:
		delete(j.believes[r.Key], r.Token)
	}
}

// replicated looks for the grants that were answered since it looked last in the
// copies of all backups that are in the epoch of the answer; all must be at rest.
func (j *judge) replicated(tb *table) {
	j.mu.Lock()
	fresh := j.fresh
	j.fresh = nil
	j.mu.Unlock()
	for _, g := range fresh {
		epoch := g.at.service.Epoch()
		if g.at.crashed.Load() || epoch != tb.history.Current().Epoch || !tb.holds(g.at, g.key, g.token) {
			continue
		}
		for _, b := range tb.set(g.key) {
			if !b.crashed.Load() && b.service.Epoch() == epoch && !tb.holds(b, g.key, g.token) {
				j.t.Errorf("%s: %s has granted token %d of %s, and %s does not know it", invariant.Replicated, g.at.member.ID, g.token, g.key, b.member.ID)
			}
		}
	}
}

// acts hears that a process acts in an epoch (A1).
func (j *judge) acts(id ring.Identity, epoch uint32) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if before := j.epochs[id]; epoch < before {
		j.t.Errorf("%s: %s acts in epoch %d, and did in %d before", invariant.EpochsGrow, id, epoch, before)
	}
	j.epochs[id] = max(j.epochs[id], epoch)
}

// holds reports whether a member's copy has a token as a grant.
func (tb *table) holds(s *seated, key string, token sharelock.Token) (found bool) {
	s.service.inShard(ring.PartitionOf(key, testPartitions), func(_ *shard, p *partition) {
		if p.m != nil {
			l, _ := p.m.Lock(s.clock(), key)
			found = slices.ContainsFunc(l.Holds, func(h sharelock.Hold) bool { return h.Token == token })
		}
	})
	return found
}

// rest waits until everything is at rest, and looks at what can be seen then.
func (tb *table) rest() {
	synctest.Wait()
	tb.judge.replicated(tb)
	for _, s := range tb.members {
		tb.judge.acts(s.member.Identity, s.service.Epoch())
	}
}

// left is for how long a client still takes the key for its own.
func (j *judge) left(key string, token sharelock.Token) time.Duration {
	j.mu.Lock()
	defer j.mu.Unlock()
	return max(time.Until(j.believes[key][token]), 0)
}

// ear sends a request and collects the answers to it.
type ear struct {
	table *table
	// rate is how fast the client's clock runs.
	rate float64

	mu      sync.Mutex
	answers []Answer    // guarded by mu
	sent    []time.Time // of each send; guarded by mu
	request Request     // the newest send; guarded by mu
	at      *seated     // where that went; guarded by mu
	deaf    atomic.Bool
}

func (e *ear) Answer(_ uint64, a Answer) {
	e.mu.Lock()
	r, at := e.request, e.at
	grant := a.Outcome == Done && (r.Kind == Acquire || r.Kind == Renew)
	var until time.Time
	switch {
	case !grant:
	case a.Send == 0 || int(a.Send) > len(e.sent):
		e.table.t.Errorf("the answer names send %d of %d", a.Send, len(e.sent))
		grant = false
	default:
		// Q3: the lock's life counts from the send that is answered.
		life := time.Duration(float64(a.Holds[0].TTL) / e.rate)
		until = e.sent[a.Send-1].Add(life)
	}
	e.mu.Unlock()
	if a.Outcome == Done && at.service.LeaseLeft() == 0 {
		e.table.t.Errorf("%s: %s answers %+v without a lease", invariant.Leased, at.member.ID, a)
	}
	if grant && r.Kind == Acquire {
		e.table.judge.decided(&r, at, a.Holds[0].Token)
	}
	e.table.links.send(clientAnswer, at.member.ID, r.ClientID, func() {
		e.mu.Lock()
		e.answers = append(e.answers, a)
		e.mu.Unlock()
		if grant {
			e.table.judge.heard(&r, a.Holds[0].Token, until)
		}
	})
}

func (e *ear) Alive() bool { return !e.deaf.Load() }

// last is the newest answer; its outcome is 0 if there is none.
func (e *ear) last() Answer {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.answers) == 0 {
		return Answer{}
	}
	return e.answers[len(e.answers)-1]
}

// count is the number of answers.
func (e *ear) count() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.answers)
}

// send sends the ear's request, or the next send of it, to a member as if that
// owned the key.
func (e *ear) send(s *seated, r Request) {
	e.mu.Lock()
	e.sent = append(e.sent, time.Now())
	r.Send = uint32(len(e.sent))
	e.request, e.at = r, s
	e.mu.Unlock()
	e.table.judge.ended(&r)
	s.service.Submit(ring.PartitionOf(r.Key, testPartitions), Ref{Caller: e, ID: 1}, &r)
}

// ask sends a request to a member, as if it owned the key, and lets it settle.
func (tb *table) ask(s *seated, r Request) *ear {
	e := &ear{table: tb, rate: 1}
	e.send(s, r)
	tb.rest()
	return e
}

// again sends a request once more, as a node does with an acquire that waits, and
// gives the newest answer.
func (e *ear) again(s *seated) Answer {
	e.mu.Lock()
	r := e.request
	e.mu.Unlock()
	e.send(s, r)
	e.table.rest()
	return e.last()
}

func acquireOf(key, client string, wait time.Duration) Request {
	return Request{Kind: Acquire, Key: key, ClientID: client, RequestID: client + "-1", TTL: 10 * time.Second, Wait: wait, OwnID: true}
}

func renewOf(key string, token sharelock.Token) Request {
	return Request{Kind: Renew, Key: key, Token: token}
}

func releaseOf(key string, token sharelock.Token) Request {
	return Request{Kind: Release, Key: key, Token: token}
}

// until sends waiting acquires again every period until the first of them is
// answered otherwise, and gives the time that took. Nobody is to wait for more
// than two minutes.
func (tb *table) until(s *seated, waiting ...*ear) time.Duration {
	tb.t.Helper()
	began := tb.clock()
	for i := 0; waiting[0].last().Outcome == Queued; i++ {
		if tb.clock()-began > 2*time.Minute {
			tb.t.Fatal("a waiter waits for ever")
		}
		if i%20 == 19 { // every 2 s
			for _, e := range waiting {
				if e.last().Outcome == Queued {
					e.again(s)
				}
			}
		}
		time.Sleep(100 * time.Millisecond)
		tb.rest()
	}
	return tb.clock() - began
}
