package linear

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/sgkandale/sharelock"
)

// op is a call in the form that the model needs.
type op struct {
	call       *Call
	start, end int64
	safe       int64
	// index is the position of the call's token among those of the history, or -1.
	index int
	// again: the request id was granted a smaller token before.
	again bool
	// candidates are the positions of the tokens that an acquire of unknown outcome may have been
	// granted.
	candidates []int
	// shown are the positions of the tokens in an answer.
	shown []int
}

// grant is what the history shows about one token.
type grant struct {
	token sharelock.Token
	// asked is the acquire that was answered with the token or, if none was, the first that may
	// have been granted it. id and client come from it or from a read.
	asked      *Call
	answered   bool // asked was answered with the token
	id, client string
	seen       *Call // the first call that showed it
	proven     int64 // when the first of them was answered
	// shown is the last time at which calls show the token as a grant.
	shown int64
	// gone is the time from which the history shows that the token is no longer a grant;
	// forgotten is the time from which the owner does not know it.
	gone, forgotten int64
}

// keyHistory holds all calls of one key.
type keyHistory struct {
	start  time.Time
	ops    []*op // in the order of their start
	grants []*grant
}

// prepare finds the tokens in the history, and the acquires of unknown outcome that may have
// been granted them. State may be lost from troubled on.
func prepare(start time.Time, calls []*Call, troubled int64) (*keyHistory, error) {
	k := &keyHistory{start: start}
	calls = slices.Clone(calls)
	slices.SortStableFunc(calls, func(a, b *Call) int { return a.Start.Compare(b.Start) })
	k.findTokens(calls)
	calls = append(calls, k.lost(calls, troubled)...)
	slices.SortStableFunc(calls, func(a, b *Call) int { return a.Start.Compare(b.Start) })
	ids := map[string]bool{}
	again := map[sharelock.Token]bool{}
	for _, g := range k.grants {
		again[g.token] = g.id != "" && ids[g.id]
		ids[g.id] = true
	}
	for _, c := range calls {
		o := &op{call: c, start: int64(c.Start.Sub(start)), end: never, safe: always, index: k.index(c.Token)}
		o.again = again[c.Token]
		if c.Outcome != Unknown {
			o.end = int64(c.End.Sub(start))
		}
		if !c.SafeUntil.IsZero() {
			o.safe = int64(c.SafeUntil.Sub(start))
		}
		for _, h := range c.Holds {
			o.shown = append(o.shown, k.index(h.Token))
		}
		if c.Op == Acquire && c.Outcome == Unknown {
			o.candidates = k.candidates(c)
			for _, index := range o.candidates {
				if g := k.grants[index]; g.asked == nil {
					g.asked = c
				}
			}
		}
		if o.matters() {
			k.ops = append(k.ops, o)
			k.learn(o)
		}
	}
	for _, o := range k.ops {
		if o.call.Outcome == Unknown {
			o.end = max(k.over(o), o.start)
		}
	}
	for _, g := range k.grants {
		if g.asked == nil {
			return nil, fmt.Errorf("token %s was not granted to any acquire, but seen by\n    %s", short(g.token), g.seen.line(start))
		}
	}
	return k, nil
}

// findTokens lists the tokens that answers show, in order.
func (k *keyHistory) findTokens(calls []*Call) {
	seen := map[sharelock.Token]*grant{}
	see := func(c *Call, h Hold) {
		g, end := seen[h.Token], int64(c.End.Sub(k.start))
		if g == nil {
			g = &grant{token: h.Token, seen: c, proven: end, shown: end, gone: never, forgotten: never}
			seen[h.Token] = g
		}
		g.proven, g.shown = min(g.proven, end), max(g.shown, end)
		g.id, g.client = cmp.Or(g.id, h.RequestID), cmp.Or(g.client, h.Client)
	}
	for _, c := range calls {
		switch {
		case c.Outcome == Unknown:
			continue
		case c.Outcome == OK && c.Op == Acquire:
			see(c, Hold{c.Token, c.RequestID, c.Client})
			if g := seen[c.Token]; !g.answered {
				g.asked, g.answered, g.id, g.client = c, true, c.RequestID, c.Client
			}
		case c.Outcome == OK && c.Op == Renew, c.Op == CheckToken && c.Current:
			see(c, Hold{Token: c.Token})
		case c.Outcome == OK && (c.Op == Release || c.Op == Force) && seen[c.Token] != nil:
			see(c, Hold{Token: c.Token})
		}
		for _, h := range c.Holds {
			see(c, h)
		}
	}
	for _, g := range seen {
		k.grants = append(k.grants, g)
	}
	slices.SortFunc(k.grants, func(a, b *grant) int { return cmp.Compare(a.token, b.token) })
}

// lost returns the acquires that were granted a token that was then lost with the state of the
// key, before they were answered with another token, or refused, because the node had sent
// them again. The fate of that grant is unknown, so they are added as calls without an answer.
func (k *keyHistory) lost(calls []*Call, troubled int64) []*Call {
	var list []*Call
	for _, g := range k.grants {
		if g.answered || g.id == "" {
			continue
		}
		for _, c := range calls {
			if c.Op != Acquire || c.RequestID != g.id || int64(c.End.Sub(k.start)) < troubled {
				continue
			}
			if c.Outcome == OK && c.Token > g.token || c.Outcome == Refused {
				before := *c
				before.Outcome, before.Token, before.SafeUntil, before.Holds = Unknown, 0, time.Time{}, nil
				list = append(list, &before)
				break
			}
		}
	}
	return list
}

// index returns the position of a token in k.grants, or -1.
func (k *keyHistory) index(t sharelock.Token) int {
	i, ok := slices.BinarySearchFunc(k.grants, t, func(g *grant, t sharelock.Token) int { return cmp.Compare(g.token, t) })
	if !ok {
		return -1
	}
	return i
}

// candidates returns the tokens that an acquire without an answer may have been granted: those
// of its request id or, if the request id of the call or of the token is unknown, those with
// which no other acquire of the history was answered.
func (k *keyHistory) candidates(c *Call) []int {
	var list []int
	for i, g := range k.grants {
		switch {
		case c.RequestID != "" && g.id != "":
			if c.RequestID == g.id {
				list = append(list, i)
			}
		case !g.answered && (g.client == "" || g.client == c.Client):
			list = append(list, i)
		}
	}
	return list
}

// matters reports whether the call can change the state or be wrong.
func (o *op) matters() bool {
	switch c := o.call; {
	case c.Outcome == Unknown && c.Op == Acquire:
		return len(o.candidates) > 0
	case c.Outcome == Unknown && (c.Op == Release || c.Op == Force && c.Token != 0):
		return o.index >= 0
	case c.Outcome == Unknown:
		return c.Op == Force
	case c.Op == Acquire && c.Outcome == Refused:
		return len(o.shown) > 0
	}
	return true
}

// over returns the time from which a call without an answer can have no more effect: every token
// that it may have been granted has been seen, or the token that it would end is gone. Without
// this bound the search would try all orders of such calls and everything that follows.
func (k *keyHistory) over(o *op) int64 {
	switch {
	case o.call.Op == Acquire:
		end := int64(always)
		for _, index := range o.candidates {
			end = max(end, k.grants[index].proven)
		}
		return end
	case o.index >= 0:
		return min(k.grants[o.index].gone, k.grants[o.index].forgotten)
	}
	return never
}

// learn records what a call shows about the end of grants.
func (k *keyHistory) learn(o *op) {
	c := o.call
	if c.Outcome == Unknown {
		return
	}
	if c.Op == Force && c.Token == 0 || c.Op == Get && !c.Some || c.Op == CheckToken {
		for i, g := range k.grants {
			if g.proven < o.start && !slices.Contains(o.shown, i) {
				g.gone = min(g.gone, o.end)
			}
		}
	}
	if o.index < 0 {
		return
	}
	g := k.grants[o.index]
	switch {
	case c.Op == Renew && c.Outcome == Refused:
		g.forgotten = min(g.forgotten, o.end)
	case c.Op == Release || c.Op == Force:
		g.gone = min(g.gone, o.end)
	case c.Op == Acquire && c.Mode == sharelock.Exclusive && c.Slots <= 1:
		// All earlier grants have ended; for most of them that is recorded already.
		for i := o.index - 1; i >= 0 && k.grants[i].gone == never; i-- {
			k.grants[i].gone = o.end
		}
	}
}

// segment is a part of a key's history, with the state in which it begins.
type segment struct {
	ops   []*op
	first state
}

// segments cuts the history at moments at which no call is in flight, so that each part has at
// most most calls. Calls of unknown outcome that may still have an effect are repeated in the
// next part.
func (k *keyHistory) segments(most int) ([]segment, error) {
	var list []segment
	rest, current := k.ops, segment{first: state{now: always}}
	for len(rest) > 0 {
		n := len(rest)
		if len(current.ops)+n > most {
			if n = lastCut(rest, most-len(current.ops)); n == 0 {
				return nil, fmt.Errorf("%w: the next %d calls overlap", errTooLong, most)
			}
		}
		current.ops = append(current.ops, rest[:n]...)
		list = append(list, current)
		if rest = rest[n:]; len(rest) > 0 {
			current = k.after(current, rest[0].start)
		}
	}
	return list, nil
}

// lastCut returns the number of calls before the last possible cut among the first most, or 0
// if there is none.
func lastCut(ops []*op, most int) int {
	cut, busy := 0, int64(always)
	for i, o := range ops[:max(most, 0)] {
		if o.end != never {
			busy = max(busy, o.end)
		}
		if busy < ops[i+1].start {
			cut = i + 1
		}
	}
	return cut
}

// after returns the segment that begins at a cut. A hold whose end the earlier calls do not
// show may still be held.
func (k *keyHistory) after(before segment, cut int64) segment {
	deadlines := map[int]int64{}
	for _, h := range before.first.holds {
		deadlines[h.index] = h.deadline
	}
	for _, o := range before.ops {
		if o.safe != always && o.call.Outcome == OK {
			old, ok := deadlines[o.index]
			if !ok {
				old = always
			}
			deadlines[o.index] = max(old, o.safe)
		}
	}
	s := segment{first: state{now: cut}}
	for i, g := range k.grants {
		if g.proven >= cut {
			continue
		}
		s.first.granted = i + 1
		if g.gone < cut {
			continue
		}
		deadline, ok := deadlines[i]
		if !ok {
			deadline = always
		}
		s.first.holds = append(s.first.holds, hold{
			index: i, id: g.id, mode: g.asked.Mode, slots: g.asked.Slots, deadline: deadline, lost: g.forgotten < cut,
		})
	}
	for _, o := range before.ops {
		if o.end == never && (s.first.find(o.index) >= 0 || o.call.Op == Force && o.call.Token == 0) {
			s.ops = append(s.ops, o)
		}
	}
	return s
}
