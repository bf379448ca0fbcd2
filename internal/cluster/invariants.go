package cluster

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sgkandale/sharelock"
)

// ViolationError says which invariant was violated, with the evidence.
type ViolationError struct {
	Invariant Invariant
	What      string
}

// Error starts with the name of the invariant.
func (e *ViolationError) Error() string { return string(e.Invariant) + ": " + e.What }

// mostViolations bounds how many violations of each invariant are reported, because one bug
// often shows in many keys.
const mostViolations = 3

// Check checks the invariants that a history can show, except those in without. It returns
// all violations joined; each is a *ViolationError.
func (h *History) Check(without ...Invariant) error {
	calls, events := h.Calls(), h.Events()
	byKey := map[string][]Call{}
	var keys []string
	for _, c := range calls {
		if byKey[c.Key] == nil {
			keys = append(keys, c.Key)
		}
		byKey[c.Key] = append(byKey[c.Key], c)
	}
	found := map[Invariant]int{}
	var errs []error
	for _, key := range keys {
		k := keyHistory{calls: byKey[key], events: events}
		for _, check := range []struct {
			name Invariant
			f    func() []Call
		}{
			{OneHolder, k.together}, {TokensGrow, k.shrinking}, {OneGrant, k.grantedTwice}, {Fair, k.overtaken},
		} {
			if slices.Contains(without, check.name) || found[check.name] >= mostViolations {
				continue
			}
			if evidence := check.f(); evidence != nil {
				found[check.name]++
				errs = append(errs, &ViolationError{check.name, h.evidence(evidence, k.calls)})
			}
		}
	}
	return errors.Join(errs...)
}

// evidence formats the calls that contradict each other, and the calls of the key around them.
func (h *History) evidence(against, all []Call) string {
	var b strings.Builder
	fmt.Fprintf(&b, "key %q:\n", against[0].Key)
	first, last := against[0].Start, against[0].Start
	for _, c := range against {
		fmt.Fprintf(&b, "    %s\n", h.line(c))
		if c.Start.Before(first) {
			first = c.Start
		}
		if c.End.After(last) {
			last = c.End
		}
	}
	b.WriteString("  all calls of the key around them:\n")
	shown := 0
	for _, c := range all {
		if c.Start.After(last) || !c.End.IsZero() && c.End.Before(first) {
			continue
		}
		if shown++; shown > 40 {
			b.WriteString("    ...\n")
			break
		}
		fmt.Fprintf(&b, "    %s\n", h.line(c))
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// keyHistory is the part of a history about one key. Its methods return the calls that
// violate an invariant, or nil.
type keyHistory struct {
	calls  []Call // in the order of their start
	events []Event
}

// belief is a period in which a client relies on a grant.
type belief struct {
	grant       Call
	from, until time.Time
}

// beliefs returns, for each token, when its client relied on it. A belief begins with the
// answer to an acquire and lasts as long as answers that came in time say that it is safe.
// It ends early when the client sends the release, or gives up the request.
func (k keyHistory) beliefs() []belief {
	updates, ended := map[sharelock.Token][]Call{}, map[sharelock.Token]time.Time{}
	end := func(t sharelock.Token, at time.Time) {
		if old, ok := ended[t]; !ok || at.Before(old) {
			ended[t] = at
		}
	}
	var tokens []sharelock.Token
	var forced, gaveUp []Call
	for _, c := range k.calls {
		switch c.Op {
		case Acquire, Renew:
			if !c.OK() {
				continue
			}
			if updates[c.Token] == nil {
				tokens = append(tokens, c.Token)
			}
			updates[c.Token] = append(updates[c.Token], c)
		case Release, Expire:
			end(c.Token, c.Start)
		case GiveUp:
			gaveUp = append(gaveUp, c)
		case Force:
			forced = append(forced, c)
		}
	}
	var all []belief
	for _, t := range tokens {
		for _, g := range gaveUp {
			if slices.ContainsFunc(updates[t], func(u Call) bool { return u.Op == Acquire && u.RequestID == g.RequestID }) {
				end(t, g.Start)
			}
		}
		for _, f := range forced {
			// A call that ends all holds of a key may also have ended a hold that was granted meanwhile.
			if f.Token == t || f.Token == 0 && (f.End.IsZero() || updates[t][0].Start.Before(f.End)) {
				end(t, f.Start)
			}
		}
		list := believed(updates[t])
		for _, b := range list {
			if at, ok := ended[t]; ok && at.Before(b.until) {
				b.until = at
			}
			if b.from.Before(b.until) {
				all = append(all, b)
			}
		}
	}
	return all
}

// believed merges the answers about one token into beliefs.
func believed(updates []Call) []belief {
	slices.SortStableFunc(updates, func(a, b Call) int { return a.End.Compare(b.End) })
	var list []belief
	for _, u := range updates {
		inTime := len(list) > 0 && u.End.Before(list[len(list)-1].until)
		switch {
		case inTime:
			last := &list[len(list)-1]
			if u.SafeUntil.After(last.until) {
				last.until = u.SafeUntil
			}
		case u.Op == Acquire && u.End.Before(u.SafeUntil):
			list = append(list, belief{grant: u, from: u.End, until: u.SafeUntil})
		}
	}
	return list
}

// together returns clients that relied on the key at the same time and must not (OneHolder).
func (k keyHistory) together() []Call {
	all := k.beliefs()
	slices.SortStableFunc(all, func(a, b belief) int { return a.from.Compare(b.from) })
	var now []belief
	for _, b := range all {
		now = slices.DeleteFunc(now, func(o belief) bool { return !b.from.Before(o.until) })
		sharing := uint32(1)
		for _, o := range now {
			switch {
			case o.grant.Token == b.grant.Token:
			case o.grant.Mode == sharelock.Shared && b.grant.Mode == sharelock.Shared:
			case o.grant.Slots > 1 && o.grant.Slots == b.grant.Slots:
				if sharing++; sharing > b.grant.Slots {
					return append(grants(now), b.grant)
				}
			default:
				return []Call{o.grant, b.grant}
			}
		}
		now = append(now, b)
	}
	return nil
}

func grants(list []belief) []Call {
	calls := make([]Call, len(list))
	for i, b := range list {
		calls[i] = b.grant
	}
	return calls
}

// granted returns the acquires that were granted, and when each request id was first sent.
func (k keyHistory) granted() (list []Call, sent map[string]time.Time) {
	sent = map[string]time.Time{}
	for _, c := range k.calls {
		if c.Op != Acquire {
			continue
		}
		if _, ok := sent[c.RequestID]; !ok {
			sent[c.RequestID] = c.Start
		}
		if c.OK() {
			list = append(list, c)
		}
	}
	return list, sent
}

// shrinking returns a grant whose token is not larger than that of an earlier grant, which was
// answered before the request for the later one was sent (TokensGrow).
func (k keyHistory) shrinking() []Call {
	list, sent := k.granted()
	ended := slices.Clone(list)
	slices.SortStableFunc(ended, func(a, b Call) int { return a.End.Compare(b.End) })
	// A retry may be answered with the token of the first send, so the first send counts.
	slices.SortStableFunc(list, func(a, b Call) int { return sent[a.RequestID].Compare(sent[b.RequestID]) })
	var largest Call
	for _, c := range list {
		for len(ended) > 0 && ended[0].End.Before(sent[c.RequestID]) {
			if ended[0].Token > largest.Token {
				largest = ended[0]
			}
			ended = ended[1:]
		}
		if c.Token <= largest.Token {
			return []Call{largest, c}
		}
	}
	return nil
}

// grantedTwice returns a grant of a request id that has another token already, although no
// state was lost. State is never lost within an epoch (OneGrant).
func (k keyHistory) grantedTwice() []Call {
	list, sent := k.granted()
	first := map[string]Call{}
	for _, c := range list {
		f, ok := first[c.RequestID]
		switch {
		case !ok:
			first[c.RequestID] = c
		case f.Token == c.Token:
		case f.Token.Epoch() == c.Token.Epoch() || !k.mayHaveLost(sent[c.RequestID], c.End):
			return []Call{f, c}
		}
	}
	return nil
}

// mayHaveLost reports whether state may have been lost between two times: a process was killed, at most
// aftermath before, or the network was disturbed.
func (k keyHistory) mayHaveLost(from, to time.Time) bool {
	return k.happened(from.Add(-aftermath), to, Killed) || k.happened(from, to, Disturbed)
}

// happened reports whether one of these events happened between two times, or whether a
// disturbance lasted into that period.
func (k keyHistory) happened(from, to time.Time, kinds ...EventKind) bool {
	lasting := false
	for _, e := range k.events {
		if e.At.After(to) {
			break
		}
		if lasting && e.Kind == Healed && e.At.Add(aftermath).After(from) || slices.Contains(kinds, e.Kind) && !e.At.Before(from) {
			return true
		}
		if e.Kind == Disturbed || e.Kind == Healed {
			lasting = e.Kind == Disturbed && slices.Contains(kinds, Disturbed)
		}
	}
	return lasting
}

// aftermath is how long after its end a disturbance may still cause the removal of a member
// from the view, and so a loss of state. It is also how long after the death of a process state may
// be lost that was decided after the death: a process that dies while it is joining may be admitted
// before anybody notices, and with one copy (R = 1) it may be the only owner in that view.
const aftermath = 10 * time.Second

// overtaken returns two waiters that a Get has shown in the queue, of which the later one was
// granted first (Fair). It considers only waiters whose only send was in flight all the time,
// in one epoch, while nothing was done to a node. Others may have lost their place or been
// passed over (Q5).
func (k keyHistory) overtaken() []Call {
	acquires := map[string][]Call{}
	for _, c := range k.calls {
		if c.Op == Acquire {
			acquires[c.RequestID] = append(acquires[c.RequestID], c)
		}
	}
	for _, g := range k.calls {
		if g.Op != Get || !g.OK() || len(g.Waiters) < 2 {
			continue
		}
		var line []Call
		for _, id := range g.Waiters {
			sends := acquires[id]
			if len(sends) == 1 && sends[0].OK() && sends[0].Token.Epoch() == g.Epoch && sends[0].End.After(g.Start) {
				line = append(line, sends[0])
			}
		}
		if found := k.outOfLine(line); found != nil {
			return found
		}
	}
	return nil
}

// outOfLine returns the two, from a line of granted waiters.
func (k keyHistory) outOfLine(line []Call) []Call {
	if len(line) < 2 {
		return nil
	}
	from := slices.MinFunc(line, func(a, b Call) int { return a.Start.Compare(b.Start) }).Start
	to := slices.MaxFunc(line, func(a, b Call) int { return a.End.Compare(b.End) }).End
	if k.happened(from, to, Killed, Stopped, Disturbed) {
		return nil
	}
	for i, c := range line[1:] {
		if cmp.Compare(c.Token, line[i].Token) < 0 {
			return []Call{line[i], c}
		}
	}
	return nil
}
