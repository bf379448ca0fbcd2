package linear

import (
	"encoding/binary"
	"hash/maphash"
	"math"
	"slices"

	"github.com/anishathalye/porcupine"

	"github.com/sgkandale/sharelock"
)

// Times are nanoseconds from the start of the history.
const (
	always = math.MinInt64
	never  = math.MaxInt64
)

// hold is a grant that has not ended. index is the position of its token among those of the
// history.
type hold struct {
	index    int
	id       string
	mode     sharelock.Mode
	slots    uint32
	deadline int64
	// lost: the owner no longer knows it, but grants nothing that conflicts with it.
	lost bool
}

// state is the state of one key. States are immutable.
type state struct {
	now     int64
	granted int
	holds   []hold // in the order of their tokens
}

// model steps through the calls of one key.
type model struct {
	troubled int64 // state may be lost from then on
	first    state
	grants   []*grant
	seed     maphash.Seed
	steps    int // steps left; negative when the search gave up
}

// step returns the states in which a call can leave the key, none if its answer cannot be
// right.
func (m *model) step(s state, o *op) []state {
	c := o.call
	switch {
	case c.Op == Acquire && c.Outcome == OK:
		return m.acquired(s, o)
	case c.Op == Acquire && c.Outcome == Unknown:
		next := []state{s}
		for _, index := range o.candidates {
			if index == s.granted {
				next = append(next, m.grant(s, o, index, always)...)
			}
		}
		return next
	case c.Op == Acquire:
		return m.shown(s, o)
	case c.Op == Renew && c.Outcome == OK:
		return m.renewed(s, o)
	case c.Op == Renew:
		return m.gone(s, o)
	case c.Op == Release || c.Op == Force && c.Token != 0:
		return m.released(s, o)
	case c.Op == Force:
		return m.cleared(s, o)
	default:
		return m.read(s, o)
	}
}

// at moves the clock to the call, and to the times that the step requires. It returns false if
// that is later than the answer.
func (s state) at(o *op, needs ...int64) (state, bool) {
	s.now = max(s.now, o.start, slices.Max(append(needs, always)))
	return s, s.now <= o.end
}

// find returns the position of a token in s.holds, or -1.
func (s state) find(index int) int {
	return slices.IndexFunc(s.holds, func(h hold) bool { return h.index == index })
}

func (s state) live(index int) bool {
	i := s.find(index)
	return i >= 0 && !s.holds[i].lost
}

func (s state) without(index int) state {
	s.holds = slices.DeleteFunc(slices.Clone(s.holds), func(h hold) bool { return h.index == index })
	return s
}

// with replaces the hold that has the same token.
func (s state) with(h hold) state {
	s.holds = slices.Clone(s.holds)
	s.holds[s.find(h.index)] = h
	return s
}

func one(s state, ok bool) []state {
	if !ok {
		return nil
	}
	return []state{s}
}

// acquired handles a new grant, or a retry that found its grant, which counts as a renewal (Q2).
func (m *model) acquired(s state, o *op) []state {
	if o.index == s.granted {
		return m.grant(s, o, o.index, o.safe)
	}
	return m.renewed(s, o)
}

// grant takes the next token. Every hold that is incompatible with the new one must have
// expired, whether the owner knew it or not.
func (m *model) grant(s state, o *op, index int, deadline int64) []state {
	c := o.call
	s.granted++
	s.holds = slices.Clone(s.holds)
	if o.again {
		// Q2: only an id that was lost with the state can be granted again.
		s.now = max(s.now, m.troubled)
	}
	together := 0
	for _, h := range s.holds {
		switch {
		case c.Slots > 1 && h.slots == c.Slots:
			together++
		case c.Slots <= 1 && h.slots <= 1 && c.Mode == sharelock.Shared && h.mode == sharelock.Shared:
		default:
			s.now = max(s.now, h.deadline)
			s = s.without(h.index)
		}
	}
	added := hold{index: index, id: c.RequestID, mode: c.Mode, slots: c.Slots, deadline: deadline}
	add := func(s state) []state {
		s, ok := s.at(o)
		s.holds = append(slices.Clip(s.holds), added)
		return one(s, ok)
	}
	if c.Slots <= 1 || together < int(c.Slots) {
		return add(s)
	}
	// One of the holds has ended; try each.
	var next []state
	for _, h := range s.holds {
		freed := s.without(h.index)
		freed.now = max(freed.now, h.deadline)
		next = append(next, add(freed)...)
	}
	return next
}

// renewed requires that the token is a grant, and prolongs it.
func (m *model) renewed(s state, o *op) []state {
	i := s.find(o.index)
	if i < 0 || s.holds[i].lost {
		return nil
	}
	h := s.holds[i]
	if o.call.Op == Acquire && o.call.RequestID != h.id {
		return nil
	}
	h.deadline = max(h.deadline, o.safe)
	return one(s.with(h).at(o))
}

// gone requires that the token is not a grant: it was none before, has expired, or the state
// was lost.
func (m *model) gone(s state, o *op) []state {
	if !s.live(o.index) {
		return one(s.at(o))
	}
	deadline := s.holds[s.find(o.index)].deadline
	next := one(s.without(o.index).at(o, deadline))
	if deadline > max(s.now, o.start) {
		next = append(next, m.lose(s, o)...)
	}
	return next
}

// lose makes the owner forget all holds.
func (m *model) lose(s state, o *op) []state {
	s.holds = slices.Clone(s.holds)
	for i := range s.holds {
		s.holds[i].lost = true
	}
	return one(s.at(o, m.troubled))
}

// released handles a release, or a force that names a token. Whatever the answer is, the holder
// has given the hold up, or it was taken away, so nobody relies on it any more.
func (m *model) released(s state, o *op) []state {
	c, live := o.call, s.live(o.index)
	ended := one(s.without(o.index).at(o))
	switch {
	case c.Outcome == Unknown:
		switch {
		case !live:
			return []state{s}
		case m.grants[o.index].shown < o.start && len(ended) > 0:
			return ended // no call sees the difference, and fewer holds are left
		}
		return append(ended, s)
	case c.Outcome == OK && live:
		return ended
	case c.Outcome == OK:
		// "Done" for a token that is not a grant: in quarantine, or from a node that sent the
		// request again and took the refusal for the result of its first send.
		return one(s.without(o.index).at(o, m.troubled))
	}
	return without(o.index, m.gone(s, o))
}

func without(index int, states []state) []state {
	for i, s := range states {
		states[i] = s.without(index)
	}
	return states
}

// cleared handles a force of all holds. A hold that was granted meanwhile may stay.
func (m *model) cleared(s state, o *op) []state {
	var next []state
	if o.call.Outcome != OK || len(s.holds) == 0 {
		next = append(next, s)
	}
	for i := range s.holds {
		rest := s
		rest.holds = s.holds[i+1:]
		next = append(next, one(rest.at(o))...)
	}
	return next
}

// shown requires that the holds in a refusal exist.
func (m *model) shown(s state, o *op) []state {
	for _, index := range o.shown {
		if !s.live(index) {
			return nil
		}
	}
	return one(s.at(o))
}

// read requires that the holds are exactly those in the answer. An owner that lost the state
// does not answer, so any other hold must have expired.
func (m *model) read(s state, o *op) []state {
	if o.call.Op == CheckToken && o.call.Current != (o.index >= 0 && slices.Contains(o.shown, o.index)) {
		return nil
	}
	next := m.shown(s, o)
	if len(next) == 0 || o.call.Some {
		return next
	}
	var needs []int64
	var left []hold
	for _, h := range s.holds {
		if slices.Contains(o.shown, h.index) {
			left = append(left, h)
		} else {
			needs = append(needs, h.deadline)
		}
	}
	s.holds = left
	return one(s.at(o, needs...))
}

func (s state) equal(o state) bool {
	return s.now == o.now && s.granted == o.granted && slices.Equal(s.holds, o.holds)
}

func (m *model) hash(s state) uint64 {
	b := binary.LittleEndian.AppendUint64(nil, uint64(s.now))
	b = binary.LittleEndian.AppendUint64(b, uint64(s.granted))
	for _, h := range s.holds {
		b = binary.LittleEndian.AppendUint64(b, uint64(h.index))
		b = binary.LittleEndian.AppendUint64(b, uint64(h.deadline))
	}
	return maphash.Bytes(m.seed, b)
}

// tidy removes holds that may have expired and that no later call shows.
func (m *model) tidy(s state) state {
	over := func(h hold) bool { return h.deadline <= s.now && m.grants[h.index].shown < s.now }
	if slices.ContainsFunc(s.holds, over) {
		s.holds = slices.DeleteFunc(slices.Clone(s.holds), over)
	}
	return s
}

// states holds the states in which the key may be, ordered by their hashes.
type states struct {
	list   []state
	hashes []uint64
}

func (l *states) add(h uint64, s state) {
	i, ok := slices.BinarySearch(l.hashes, h)
	for ; ok && i < len(l.list) && l.hashes[i] == h; i++ {
		if l.list[i].equal(s) {
			return
		}
	}
	l.list, l.hashes = slices.Insert(l.list, i, s), slices.Insert(l.hashes, i, h)
}

func (l *states) equal(o *states) bool {
	return slices.Equal(l.hashes, o.hashes) && slices.EqualFunc(l.list, o.list, state.equal)
}

// porcupine returns the model in porcupine's form. One of its states is the set of all states
// in which the key may be; porcupine's own construction of such sets compares every two states.
func (m *model) porcupine() porcupine.Model {
	return porcupine.Model{
		Init: func() any {
			l := &states{}
			l.add(m.hash(m.first), m.first)
			return l
		},
		Step: func(from, in, _ any) (bool, any) {
			to := &states{}
			for _, s := range from.(*states).list {
				if m.steps--; m.steps < 0 {
					return false, to
				}
				for _, next := range m.step(s, in.(*op)) {
					next = m.tidy(next)
					to.add(m.hash(next), next)
				}
			}
			return len(to.list) > 0, to
		},
		Equal: func(a, b any) bool { return a.(*states).equal(b.(*states)) },
		Hash: func(s any) (h uint64) {
			for _, of := range s.(*states).hashes {
				h ^= of
			}
			return h
		},
	}
}
