package journal

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/owner/ops"
)

// A Query asks for the holds of a key.
type Query struct {
	Key       string
	Partition uint32
	// From and To are microseconds since 1970. The query asks for holds that were held at any time
	// in between.
	From, To int64
	// Limit is the maximum number of holds; the newest are returned.
	Limit int
	// Live are the tokens of holds that are known to be held now.
	Live []sharelock.Token
	// Asked is when the owner was asked for the live ones, in microseconds since 1970. Only [Merge] needs it.
	Asked int64
}

// A Mark says when something was decided: its place in the log, and the time by the clock of the
// member that has recorded it, in microseconds since 1970. The zero Mark means that it is not
// known.
type Mark struct {
	Epoch uint32
	Seq   uint64
	At    int64
	// Owner is set if that member was the owner.
	Owner bool
}

// An Ending is an end of a hold that a member has recorded. The decision may not count, see
// [Merge].
type Ending struct {
	Mark
	Why ops.Why
	By  string
}

// A Past is what a member has recorded about one hold.
type Past struct {
	Token sharelock.Token
	// Grant is zero if it is not known. Then the next fields are not known either.
	Grant               Mark
	ClientID, Principal string
	Mode                sharelock.Mode
	// Queued is set if the hold was granted to a waiter. QueuedAt is when it began to wait; 0 means
	// not known, and then ClientID is empty.
	Queued   bool
	QueuedAt int64
	Ends     []Ending
}

// A Part is what one member knows.
type Part struct {
	Pasts []Past
	// Spans are those of the partition, as far back as the search went; none if it failed.
	Spans []Span
}

// slack is how far the times of one operation at two members may be apart: their clocks differ, and a backup
// may apply an operation late. A search also finds holds that were held up to so long before or after the time
// that was asked for, because by the owner's clock, which counts, they may have been held at that time.
const slack = 10 * time.Second

// mostNear bounds how many holds a search finds only because of slack. If a key was granted more often in
// that time, the search is not complete.
const mostNear = 2048

// MaxEnds is how many ends of a hold are found, the newest ones. An earlier end counts only if the
// newer ones do not, which takes a failover for each of them.
const MaxEnds = 3

// mostOpen is the maximum number of holds that a search collects.
const mostOpen = 1 << 16

// Search finds the holds of a key that this member has recorded. It reads the newest records first,
// and no more than needed.
func (j *Journal) Search(ctx context.Context, q Query) (Part, error) {
	select {
	case j.searches <- struct{}{}:
		defer func() { <-j.searches }()
	case <-ctx.Done():
		return Part{}, ctx.Err()
	}
	if err := j.flush(ctx); err != nil {
		return Part{}, err
	}
	s := newSearch(q)
	s.deep = slices.ContainsFunc(j.spansOf(q.Partition), func(sp Span) bool {
		return sp.Lost && sp.LowAt >= q.From-slack.Microseconds()
	})
	refs := j.store.With(xxhash.Sum64String(q.Key))
	whole := true
	for _, ref := range slices.Backward(refs) {
		if s.enough(ref.Last) {
			break
		}
		if ctx.Err() != nil || len(s.pasts) > mostOpen {
			whole = false
			break
		}
		payload, err := j.store.Read(&ref)
		if err == nil {
			err = s.block(payload)
		}
		if err != nil {
			whole = false // the block is damaged, or was just removed because of its age
		}
	}
	var part Part
	if part.Pasts = s.result(); len(part.Pasts) > MaxFound(q.Limit) {
		part.Pasts, whole = part.Pasts[:MaxFound(q.Limit)], false
	}
	if whole {
		part.Spans = s.searched(j.spansOf(q.Partition))
	}
	return part, nil
}

// spansOf returns the spans of a partition.
func (j *Journal) spansOf(partition uint32) []Span {
	j.spansMu.Lock()
	defer j.spansMu.Unlock()
	if s := j.spansAt(partition); s != nil {
		return slices.Clone(s.list)
	}
	return nil
}

// A search reads records from the newest to the oldest.
type search struct {
	Query
	pasts map[sharelock.Token]*Past
	// seekGrant counts the holds whose grant was not found yet. queued holds those whose enqueue
	// was not found yet.
	seekGrant int
	queued    map[waiter]*Past
	// found counts the holds that were held in the time that was asked for, by this member's clock, and
	// whose grant is known.
	found int
	// next is the first hold that was granted after that time and slack, or nil.
	next *Past
	// reached is the oldest record of the key that was taken.
	reached Mark
	// deep is set if holds may have been lost with the state of the partition, so that they have no
	// end.
	deep bool
	// list is reused for each block.
	list []record
}

// A waiter is a request in the queue of the key.
type waiter struct{ principal, request string }

func newSearch(q Query) *search {
	s := &search{Query: q, pasts: map[sharelock.Token]*Past{}, queued: map[waiter]*Past{}}
	for _, t := range q.Live {
		if t != 0 && s.pasts[t] == nil {
			s.pasts[t] = &Past{Token: t}
			s.seekGrant++
		}
	}
	return s
}

// enough reports whether records from last or earlier are not needed.
func (s *search) enough(last int64) bool {
	if len(s.queued) > 0 {
		return false
	}
	return s.full() || s.seekGrant == 0 && !s.deep && last < s.From-slack.Microseconds()
}

// block processes the records of one block. Newer blocks must be processed before it.
func (s *search) block(payload []byte) error {
	s.list = s.list[:0]
	for len(payload) > 0 {
		var r record
		var err error
		if payload, err = r.next(payload); err != nil {
			return err
		}
		if r.kind == applied && string(keyOf(r.op)) == s.Key {
			s.list = append(s.list, r)
		}
	}
	for i := range slices.Backward(s.list) {
		if err := s.take(&s.list[i]); err != nil {
			return err
		}
	}
	return nil
}

// full reports whether as many holds were found as are wanted. From then on only the beginnings of their
// waits are looked for.
func (s *search) full() bool { return s.found >= s.most() }

// searched returns what is left of spans, if the search ended early because it was full: as far back as
// it went.
func (s *search) searched(list []Span) []Span {
	if !s.full() {
		return list
	}
	var left []Span
	for _, sp := range list {
		switch at := s.reached; {
		case sp.Epoch > at.Epoch || sp.Epoch == at.Epoch && sp.Low+1 >= at.Seq:
		case sp.Epoch < at.Epoch || !sp.Open && sp.High < at.Seq:
			sp.Low = sp.High // it still says how the epoch began
		default:
			if sp.Lost { // when the epoch began is when the state before was lost
				began := sp
				began.High, began.Open = began.Low, false
				left = append(left, began)
			}
			sp.Low, sp.LowAt = at.Seq-1, max(sp.LowAt, at.At)
		}
		left = append(left, sp)
	}
	return left[max(0, len(left)-MaxSpans):]
}

func (s *search) take(r *record) error {
	var op ops.Op
	if rest, err := op.Decode(r.op); err != nil || len(rest) > 0 {
		return errMalformed
	}
	m := Mark{Epoch: r.epoch, Seq: r.seq, At: r.at, Owner: r.owner}
	if s.full() && op.Kind != ops.Enqueue {
		return nil
	}
	if !s.full() {
		s.reached = m
	}
	switch op.Kind {
	case ops.Release:
		p := s.pasts[op.Token]
		if p == nil {
			p = &Past{Token: op.Token}
			s.pasts[op.Token] = p
			s.seekGrant++
		}
		if len(p.Ends) < MaxEnds {
			p.Ends = append(p.Ends, Ending{Mark: m, Why: op.Why, By: op.By})
		}
	case ops.Grant:
		s.grant(m, &op)
	case ops.Enqueue:
		w := waiter{op.Principal, op.RequestID}
		if p := s.queued[w]; p != nil {
			delete(s.queued, w)
			p.ClientID, p.Principal, p.Mode, p.QueuedAt = op.ClientID, op.Principal, op.Mode, m.At
		}
	}
	return nil
}

func (s *search) grant(m Mark, op *ops.Op) {
	p := s.pasts[op.Token]
	if p == nil {
		p = &Past{Token: op.Token}
	} else if p.Grant == (Mark{}) {
		s.seekGrant--
	}
	p.Grant = m
	switch {
	case m.At > s.To+slack.Microseconds():
		if s.next != nil {
			delete(s.pasts, s.next.Token)
		}
		p.Ends, s.next = nil, p
	case !s.overlaps(p):
		delete(s.pasts, op.Token)
		return
	case m.At <= s.To && s.endedAfter(p, s.From):
		s.found++
	}
	s.pasts[op.Token] = p
	if op.Waited && p != s.next {
		p.Queued = true
		s.queued[waiter{op.Principal, op.RequestID}] = p
		return
	}
	p.ClientID, p.Principal, p.Mode = op.ClientID, op.Principal, op.Mode
}

// overlaps reports whether a hold may be wanted, as far as its end tells.
func (s *search) overlaps(p *Past) bool { return s.endedAfter(p, s.From-slack.Microseconds()) }

// endedAfter reports whether a hold had not ended at a time. One without an end had not.
func (s *search) endedAfter(p *Past, at int64) bool {
	return len(p.Ends) == 0 || slices.ContainsFunc(p.Ends, func(e Ending) bool { return e.At >= at })
}

// result returns the newest holds, the newest first.
func (s *search) result() []Past {
	list := make([]Past, 0, len(s.pasts))
	for _, p := range s.pasts {
		if p.Grant != (Mark{}) || len(p.Ends) > 0 && s.overlaps(p) {
			list = append(list, *p)
		}
	}
	slices.SortFunc(list, func(a, b Past) int { return cmp.Compare(b.Token, a.Token) })
	return list
}

// most is how many holds are found at most that were held in the time that was asked for. Some of them may
// not count.
func (s *search) most() int { return 2*s.Limit + 16 }

// MaxFound returns how many holds a search finds at most. If there are more, the rest is not known.
func MaxFound(limit int) int { return 2*limit + 16 + mostNear }
