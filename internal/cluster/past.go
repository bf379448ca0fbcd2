package cluster

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/sgkandale/sharelock"
)

// Asked counts the questions of CheckPast, and those whose answer was complete.
type Asked struct {
	Questions, Complete int
}

// CheckPast asks nodes who held keys at times at which clients relied on their grants, according to the
// history. An answer must name the client, unless it says that it is incomplete or that the hold was
// lost. For an exclusive lock it must name nobody else.
func (c *Cluster) CheckPast(ctx context.Context, rnd *rand.Rand, questions int) (asked Asked, err error) {
	byKey := map[string][]Call{}
	var keys []string
	for _, call := range c.history.Calls() {
		if byKey[call.Key] == nil {
			keys = append(keys, call.Key)
		}
		byKey[call.Key] = append(byKey[call.Key], call)
	}
	var all []belief
	for _, key := range keys {
		all = append(all, keyHistory{calls: byKey[key]}.beliefs()...)
	}
	now := time.Now()
	all = slices.DeleteFunc(all, func(b belief) bool { return !b.from.Before(now) })
	if len(all) == 0 {
		return asked, nil
	}
	for range questions {
		b := all[rnd.IntN(len(all))]
		until := b.until
		if until.After(now) {
			until = now
		}
		at := b.from.Add(time.Duration(rnd.Int64N(int64(until.Sub(b.from)) + 1)))
		complete, err := c.checkPast(ctx, b, at)
		if err != nil {
			return asked, err
		}
		if asked.Questions++; complete {
			asked.Complete++
		}
	}
	return asked, nil
}

// checkPast asks all running nodes who held a key, and reports whether all answers were complete.
func (c *Cluster) checkPast(ctx context.Context, b belief, at time.Time) (complete bool, err error) {
	complete = true
	for _, n := range c.all() {
		m := n.current()
		if m == nil {
			continue
		}
		key := b.grant.Key
		h, err := m.History(ctx, sharelock.HistoryRequest{Key: key, From: at, To: at, Limit: sharelock.MaxHistory})
		if err != nil {
			return false, fmt.Errorf("node %d: history of %q: %w", n.index, key, err)
		}
		problem := b.contradicts(h, at)
		if problem != "" {
			whole, err := m.History(ctx, sharelock.HistoryRequest{Key: key, Limit: sharelock.MaxHistory})
			if err != nil {
				return false, fmt.Errorf("node %d: history of %q: %w", n.index, key, err)
			}
			if !wasLost(whole, b.grant.Token) {
				return false, &ViolationError{Past, fmt.Sprintf("node %d: who held %q at +%v: %s\nthe answer:%s\nall it knows:%s\n%s",
					n.index, key, at.Sub(c.history.start), problem, c.history.past(h), c.history.past(whole), c.history.line(b.grant))}
			}
		}
		complete = complete && h.Complete
	}
	return complete, nil
}

// contradicts says why an answer about a time is wrong, or returns "".
func (b belief) contradicts(h sharelock.History, at time.Time) string {
	found := false
	for _, e := range h.Entries {
		switch {
		case e.Token == b.grant.Token && e.ClientID != b.grant.Client && (h.Complete || e.ClientID != ""):
			return fmt.Sprintf("token %v was of %q", e.Token, e.ClientID)
		case e.Token == b.grant.Token:
			found = true
		case h.Complete && b.grant.Mode == sharelock.Exclusive && b.grant.Slots <= 1 && e.Acquired.Before(at) && (e.Ended.IsZero() || e.Ended.After(at.Add(time.Microsecond))):
			return fmt.Sprintf("also token %v of %q", e.Token, e.ClientID)
		}
	}
	if !found && h.Complete {
		return "not the holder"
	}
	return ""
}

// wasLost reports whether the history says that a hold was lost.
func wasLost(h sharelock.History, token sharelock.Token) bool {
	return slices.ContainsFunc(h.Entries, func(e sharelock.PastHold) bool { return e.Token == token && e.End == sharelock.EndLost })
}

// past formats an answer for people.
func (h *History) past(p sharelock.History) (s string) {
	for _, e := range p.Entries {
		s += fmt.Sprintf("\n  token %d/%d of %q from +%v to +%v %s", e.Token.Epoch(), e.Token.Counter(), e.ClientID, e.Acquired.Sub(h.start), e.Ended.Sub(h.start), e.End)
	}
	return s + fmt.Sprintf("\n  complete: %t", p.Complete)
}
