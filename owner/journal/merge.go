package journal

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/owner/ops"
)

// Merge combines what members have recorded into the answer to a query. live are the holds of the
// key at a time before the members were asked. epoch is the epoch of the owner that named them, or
// 0 if the owner could not be asked.
func Merge(q Query, parts []Part, live []sharelock.Hold, epoch uint32) sharelock.History {
	l := newLine(parts)
	m := merger{query: q, line: l, covered: l.covered(q.From, epoch), pasts: map[sharelock.Token]*merged{}}
	for _, part := range parts {
		for i := range part.Pasts {
			m.add(&part.Pasts[i])
		}
		m.early = append(m.early, newEarly(part, q))
	}
	for i := range live {
		m.live(&live[i])
	}
	return m.history()
}

// A line is what is known about the epochs of a partition.
type line struct {
	spans map[uint32][]Span
	// epochs are the epochs with spans, the newest first.
	epochs []uint32
	// kept holds the epochs whose logs are continued by the newest epoch, as far back as that is
	// known, each with its last sequence number that is continued. oldest is the first of them. The
	// logs of other epochs since oldest were dropped.
	kept   map[uint32]uint64
	oldest uint32
}

func newLine(parts []Part) *line {
	l := &line{spans: map[uint32][]Span{}, kept: map[uint32]uint64{}}
	for i := range parts {
		for _, s := range parts[i].Spans {
			l.spans[s.Epoch] = append(l.spans[s.Epoch], s)
		}
	}
	l.epochs = slices.SortedFunc(maps.Keys(l.spans), func(a, b uint32) int { return cmp.Compare(b, a) })
	if len(l.epochs) == 0 {
		return l
	}
	last := uint64(math.MaxUint64)
	for e := l.epochs[0]; l.spans[e] != nil; {
		l.kept[e], l.oldest = last, e
		b := l.base(e)
		if b.Lost || b.From == 0 || b.From >= e {
			break
		}
		e, last = b.From, b.Seq
	}
	return l
}

// base returns the base of the log of an epoch.
func (l *line) base(epoch uint32) Base {
	list := l.spans[epoch]
	return Base{
		Seq: list[0].Base, From: list[0].From, Lost: slices.ContainsFunc(list, func(s Span) bool { return s.Lost }),
	}
}

// counts reports whether a decision at a place in the log counts: every later epoch up to a loss of
// the state has continued a log that contains it.
func (l *line) counts(m Mark) bool {
	switch {
	case len(l.epochs) == 0 || m.Epoch > l.epochs[0]:
		return true // no later epoch is known
	case m.Epoch >= l.oldest:
		last, kept := l.kept[m.Epoch]
		return kept && m.Seq <= last
	}
	for _, e := range slices.Backward(l.epochs) {
		if e <= m.Epoch {
			continue
		}
		b := l.base(e)
		if b.Lost {
			return true
		}
		if m.Seq > b.Seq {
			return false
		}
	}
	return true
}

// lostAfter returns when the state was first lost after an epoch, in microseconds since 1970; 0 if
// it was not.
func (l *line) lostAfter(epoch uint32) int64 {
	for _, e := range slices.Backward(l.epochs) {
		if e <= epoch {
			continue
		}
		if l.base(e).Lost {
			at := int64(math.MaxInt64)
			for _, s := range l.spans[e] {
				at = min(at, s.LowAt)
			}
			return at
		}
	}
	return 0
}

// covered returns the time since which nothing is missing, in microseconds since 1970. It does not
// look further back than from. math.MaxInt64 means that something may be missing now, math.MinInt64
// that everything is known. epoch is the epoch in which the owner has answered.
func (l *line) covered(from int64, epoch uint32) int64 {
	at := int64(math.MaxInt64)
	if epoch == 0 || len(l.epochs) == 0 || l.epochs[0] < epoch {
		return at // no member that has answered has a record of the current epoch
	}
	want, open := uint64(math.MaxUint64), true
	for e := l.epochs[0]; l.spans[e] != nil; {
		b := l.base(e)
		var low uint64
		if low, at = extend(l.spans[e], want, open, at); low == b.Seq && !open && want == b.Seq {
			at = begun(l.spans[e], at) // no decision of this epoch counts
		}
		switch {
		case at <= from, low > b.Seq, b.Lost:
			return at
		case b.Seq == 0:
			return math.MinInt64 // there was nothing before it
		case b.From == 0 || b.From >= e:
			return at
		}
		e, want, open = b.From, b.Seq, false
	}
	return at // no member that has answered has a record of the epoch before
}

// begun returns the earliest beginning of a span that begins with its epoch, or at if that is
// earlier.
func begun(list []Span, at int64) int64 {
	for _, s := range list {
		if s.Low == s.Base {
			at = min(at, s.LowAt)
		}
	}
	return at
}

// extend goes back in the log, from want or from now, as far as the spans have no gap. It returns
// where and when the first of these spans begins.
func extend(list []Span, want uint64, now bool, at int64) (low uint64, _ int64) {
	low = want
	for again := true; again; {
		again = false
		for _, s := range list {
			reaches := s.High >= low
			if now && low == math.MaxUint64 {
				reaches = s.Open
			}
			if reaches && s.Low < low {
				low, at, again = s.Low, s.LowAt, true
			}
		}
	}
	return low, at
}

// merged is what all members know about one hold.
type merged struct {
	sharelock.PastHold
	grant, end Mark
	// held is set if the hold is held now.
	held bool
}

// A merger combines what members know.
type merger struct {
	query   Query
	line    *line
	covered int64
	pasts   map[sharelock.Token]*merged
	// early has what each part says of holds that it does not name.
	early []early
}

// early tells which holds had ended long before the time that was asked for, by the clock of a member that
// has searched and does not name them.
type early struct {
	spans []Span
	named map[sharelock.Token]bool
	// later is the first hold that was granted long after that time.
	later sharelock.Token
}

func newEarly(p Part, q Query) early {
	e := early{spans: p.Spans, named: make(map[sharelock.Token]bool, len(p.Pasts)), later: math.MaxUint64}
	for i := range p.Pasts {
		past := &p.Pasts[i]
		e.named[past.Token] = true
		if past.Grant.At > q.To+slack.Microseconds() {
			e.later = min(e.later, past.Token)
		}
	}
	return e
}

// has reports whether a hold with an end is one of those: the member has recorded the end, but does not name
// the hold.
func (e *early) has(h *merged) bool {
	return !e.named[h.Token] && h.Token < e.later && slices.ContainsFunc(e.spans, func(s Span) bool {
		return s.Epoch == h.end.Epoch && s.Low < h.end.Seq && h.end.Seq <= s.High
	})
}

// endedEarly reports whether a hold had ended long before the time that was asked for, although another member
// says that it ended later: that is a backup that has applied the end late. The owner's clock counts, so it is not
// contradicted.
func (m *merger) endedEarly(h *merged) bool {
	return h.end != (Mark{}) && !h.end.Owner && slices.ContainsFunc(m.early, func(e early) bool { return e.has(h) })
}

// add adds what one member knows about a hold.
func (m *merger) add(p *Past) {
	h := m.pasts[p.Token]
	if h == nil {
		h = &merged{PastHold: sharelock.PastHold{Token: p.Token}}
		m.pasts[p.Token] = h
	}
	if p.Grant.better(h.grant) {
		h.grant = p.Grant
		h.Acquired = timeOf(p.Grant.At)
	}
	if p.ClientID != "" {
		h.ClientID, h.Principal, h.Mode = p.ClientID, p.Principal, p.Mode
	}
	switch {
	case p.Grant == (Mark{}):
	case !p.Queued:
		h.WaitKnown = true
	case p.QueuedAt != 0 && !h.WaitKnown:
		h.Waited, h.WaitKnown = time.Duration(max(p.Grant.At-p.QueuedAt, 0))*time.Microsecond, true
	}
	for i := range p.Ends {
		if e := &p.Ends[i]; m.line.counts(e.Mark) && e.better(h.end) {
			h.end, h.Ended, h.By = e.Mark, timeOf(e.At), e.By
			h.End = endOf(e.Why)
		}
	}
}

// better reports whether a mark is better than another mark of the same decision: a known mark is
// better than none, and the owner's is better than a backup's.
func (k Mark) better(than Mark) bool {
	return k != (Mark{}) && (than == (Mark{}) || k.Owner && !than.Owner)
}

// live adds a hold that was held before the members were asked.
func (m *merger) live(h *sharelock.Hold) {
	p := m.pasts[h.Token]
	if p == nil {
		p = &merged{PastHold: sharelock.PastHold{Token: h.Token}}
		m.pasts[h.Token] = p
	}
	p.ClientID, p.Principal, p.Mode = h.ClientID, h.Principal, h.Mode
	p.held = p.end == (Mark{})
}

// history returns the answer.
func (m *merger) history() sharelock.History {
	answer := sharelock.History{Complete: m.covered <= m.query.From}
	next := m.next()
	for _, h := range m.pasts {
		if h.Token >= next && !h.grant.Owner || m.endedEarly(h) || h.end == (Mark{}) && !h.held && !m.settle(h, answer.Complete) || !m.within(h) {
			continue
		}
		answer.Entries = append(answer.Entries, h.PastHold)
	}
	slices.SortFunc(answer.Entries, func(a, b sharelock.PastHold) int { return cmp.Compare(b.Token, a.Token) })
	answer.Entries = answer.Entries[:min(len(answer.Entries), m.query.Limit)]
	if n := m.query.Limit; n > 0 && len(answer.Entries) == n {
		// What is missing before the oldest entry was granted earlier, so it is beyond the limit.
		oldest := answer.Entries[n-1].Acquired
		answer.Complete = answer.Complete || !oldest.IsZero() && m.covered <= oldest.UnixMicro()
	}
	for i := range answer.Entries {
		e := &answer.Entries[i]
		answer.Complete = answer.Complete && e.ClientID != ""
	}
	return answer
}

// next returns the token of the first hold that was granted after the time that was asked for. Tokens of a
// key grow, so this tells of a hold whose grant is not known from its owner that it was granted later. Only
// an owner's clock says so; a backup may have applied the grant late. What an owner has decided after
// the state was lost says nothing about the epochs after that: it did not know of them.
func (m *merger) next() sharelock.Token {
	next := sharelock.Token(math.MaxUint64)
	for _, h := range m.pasts {
		if !h.grant.Owner || h.grant.At <= m.query.To || !m.line.counts(h.grant) {
			continue
		}
		if lost := m.line.lostAfter(h.grant.Epoch); lost == 0 || h.grant.At < lost {
			next = min(next, h.Token)
		}
	}
	return next
}

// settle finds out about a hold without an end that was not among the live ones. It returns false if
// there was no such hold, or if it ended before the time that was asked for. complete is set if nothing
// is missing since then.
func (m *merger) settle(h *merged, complete bool) bool {
	if h.grant == (Mark{}) || !m.line.counts(h.grant) {
		return false
	}
	if at := m.line.lostAfter(h.grant.Epoch); at != 0 {
		h.End, h.Ended = sharelock.EndLost, timeOf(at)
		return true
	}
	if m.covered > h.grant.At {
		return !complete // its end may be missing: if everything is known since then, it was before
	}
	// Its end is not missing. Either it ended so early that nobody has looked for the end, or it was
	// granted after the owner was asked for the live ones.
	return h.grant.At > m.query.Asked-slack.Microseconds()
}

// within reports whether a hold was held at some time that was asked for.
func (m *merger) within(h *merged) bool {
	if h.grant != (Mark{}) && h.grant.At > m.query.To {
		return false
	}
	return h.Ended.IsZero() || h.Ended.UnixMicro() >= m.query.From
}

func timeOf(micros int64) time.Time { return time.UnixMicro(micros).UTC() }

// endOf returns how a hold has ended.
func endOf(why ops.Why) sharelock.HoldEnd {
	switch why {
	case ops.Expired:
		return sharelock.EndExpired
	case ops.Forced:
		return sharelock.EndForced
	default:
		return sharelock.EndReleased
	}
}
