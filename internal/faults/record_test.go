package faults

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/linear"
)

// record collects what clients did and saw. It is safe for concurrent use.
type record struct {
	mu     sync.Mutex
	grants []*grant      // guarded by mu
	calls  []linear.Call // guarded by mu
	asked  int           // calls of the load, waiters and holders; guarded by mu
	failed []string      // guarded by mu
	lost   []string      // guarded by mu
}

// grant is a lock that a client was granted.
type grant struct {
	key, client string
	token       sharelock.Token
	// sent is when the client called, got is when it had the lock.
	sent, got time.Time
	// until is when the client stopped relying on the lock: it began to release it, or learned that
	// the lock is lost. Zero while it relies on the lock.
	until time.Time
}

// acquired records the end of an acquire. The grant is nil if there was none.
func (r *record) acquired(client, key string, sent time.Time, hold sharelock.Hold, err error) *grant {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked++
	c := linear.Call{Key: key, Client: client, Op: linear.Acquire, Start: sent}
	if err != nil {
		// It may have been granted nevertheless, whatever the error is.
		r.calls = append(r.calls, c)
		r.fail("acquire", client, key, sent, err)
		return nil
	}
	c.End, c.Outcome, c.Token = now, linear.OK, hold.Token
	c.SafeUntil = sent.Add(hold.SafeFor) // Q3; or a little too early, because it may have been sent again
	r.calls = append(r.calls, c)
	g := &grant{key: key, client: client, token: hold.Token, sent: sent, got: now}
	r.grants = append(r.grants, g)
	return g
}

// renewed records that a client was seen to have renewed a lock between two moments.
func (r *record) renewed(g *grant, from, to, safe time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls = append(r.calls, linear.Call{
		Key: g.key, Client: g.client, Op: linear.Renew, Start: from, End: to, Outcome: linear.OK, Token: g.token, SafeUntil: safe,
	})
}

// over records that a client stopped relying on a lock; the first time counts.
func (r *record) over(g *grant, at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if g.until.IsZero() {
		g.until = at
	}
}

// released records the end of a release.
func (r *record) released(g *grant, sent time.Time, err error) {
	r.over(g, sent)
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked++
	c := linear.Call{Key: g.key, Client: g.client, Op: linear.Release, Start: sent, Token: g.token}
	if err != nil {
		r.fail("release", g.client, g.key, sent, err)
	} else {
		c.End, c.Outcome = now, linear.OK
	}
	r.calls = append(r.calls, c)
}

// read records what the mesh reported about a key.
func (r *record) read(client string, sent time.Time, lock sharelock.KeyState) {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	c := linear.Call{
		Key: lock.Key, Client: client, Op: linear.Get, Start: sent, End: now, Outcome: linear.OK, Some: lock.HoldCount > len(lock.Holds),
	}
	for _, h := range lock.Holds {
		c.Holds = append(c.Holds, linear.Hold{Token: h.Token, RequestID: h.RequestID, Client: h.ClientID})
	}
	r.calls = append(r.calls, c)
}

// loss records a lost lock.
func (r *record) loss(g *grant, why error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lost = append(r.lost, fmt.Sprintf("%s %s of %s, token %v: %v", time.Now().Format(clock), g.key, g.client, g.token, why))
}

const clock = "15:04:05.000"

// fail records a failure. The caller must hold mu.
func (r *record) fail(what, client, key string, sent time.Time, err error) {
	r.failed = append(r.failed, fmt.Sprintf("%s %s %s of %s, sent %s: %v",
		time.Now().Format(clock), what, key, client, sent.Format(clock), err))
}

// all returns everything so far.
func (r *record) all() (grants []grant, calls []linear.Call, asked int, failed, lost []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, g := range r.grants {
		grants = append(grants, *g)
	}
	return grants, slices.Clone(r.calls), r.asked, slices.Clone(r.failed), slices.Clone(r.lost)
}

// doubles returns the grants that came while another client relied on its own, and those whose tokens
// did not grow. All locks are exclusive.
func doubles(grants []grant) (double, shrunk []string) {
	grants = slices.Clone(grants)
	slices.SortFunc(grants, func(a, b grant) int { return cmp.Or(cmp.Compare(a.key, b.key), a.got.Compare(b.got)) })
	for i, g := range grants {
		for j := i - 1; j >= 0 && grants[j].key == g.key; j-- {
			before := grants[j]
			if before.until.IsZero() || before.until.After(g.got) {
				double = append(double, fmt.Sprintf("%s: %s got token %v at %s, which %s had with token %v until %s",
					g.key, g.client, g.token, g.got.Format(clock), before.client, before.token, before.until.Format(clock)))
			}
			// A client may learn of its grant late, but not of one that was made before another's release
			// was sent.
			if g.token <= before.token {
				shrunk = append(shrunk, fmt.Sprintf("%s: %s got token %v at %s, after %s got %v", g.key, g.client, g.token, g.got.Format(clock), before.client, before.token))
			}
		}
	}
	return double, shrunk
}

// gap returns the longest time from begin to end without a grant of one of the keys, and when it began.
// Some client must have wanted every key all the time.
func gap(grants []grant, begin, end time.Time, in func(key string) bool) (longest time.Duration, from time.Time) {
	times := []time.Time{end}
	for _, g := range grants {
		if in(g.key) && g.got.After(begin) && g.got.Before(end) {
			times = append(times, g.got)
		}
	}
	slices.SortFunc(times, time.Time.Compare)
	last := begin
	for _, at := range times {
		if d := at.Sub(last); d > longest {
			longest, from = d, last
		}
		last = at
	}
	return longest, from
}

// outOfOrder counts the waiters of a queue, given in order, that were granted before one ahead of
// them. 0 is a token that never came.
func outOfOrder(tokens []sharelock.Token) int {
	n := 0
	for i, t := range tokens {
		if t != 0 && slices.ContainsFunc(tokens[:i], func(ahead sharelock.Token) bool { return ahead > t }) {
			n++
		}
	}
	return n
}
