package seats

import (
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/sgkandale/sharelock/internal/model/search"
)

// Model is an instance: a mesh and what may happen to its processes, each at any time.
type Model struct {
	// N is the number of processes. The first Seats of them have the seats, the next Spares are
	// members without one, and the rest has not started yet.
	N, Seats, Spares uint8
	// Stops are told to processes, Kills end them, Losses end them and lose the directory, and
	// Starts start those that are down. Each is the largest number of such events.
	Stops, Kills, Losses, Starts uint8
	// Grace allows mesh.seat_grace to end.
	Grace bool
	// Off is the rule that is switched off.
	Off Rule
}

// Initial yields a mesh at rest. All holders of seats are alike, so one choice of the leader is enough.
func (m *Model) Initial() iter.Seq[state] {
	s := state{counts: 1, stops: m.Stops, kills: m.Kills, losses: m.Losses, starts: m.Starts}
	s.up = 1<<(m.Seats+m.Spares) - 1
	s.joined = s.up
	s.entries[1] = entry{seats: 1<<m.Seats - 1, view: s.up}
	for i := range m.Seats + m.Spares {
		s.rank[i] = 1
	}
	return slices.Values([]state{s})
}

// Next takes all steps from a state.
func (m *Model) Next(s state, take func(search.Step, state)) {
	for i := range m.N {
		m.environment(s, i, take)
		m.exits(s, i, take)
	}
	m.raft(s, take)
	m.decide(s, take)
}

func (m *Model) environment(s state, i uint8, take func(search.Step, state)) {
	fault := func(kind uint8, left func(*state) *uint8, change func(*state)) {
		n := s
		if l := left(&n); *l > 0 {
			*l--
			change(&n)
			take(search.Step{Kind: kind, A: i, Fault: true}, n)
		}
	}
	if !s.up.has(i) {
		if !s.lost.has(i) {
			fault(stepStart, func(n *state) *uint8 { return &n.starts }, func(n *state) {
				n.up |= of(i)
				n.fresh |= of(i)
				n.gone &^= of(i)
			})
		}
		return
	}
	if !s.told.has(i) {
		fault(stepStop, func(n *state) *uint8 { return &n.stops }, func(n *state) { n.told |= of(i) })
	}
	fault(stepKill, func(n *state) *uint8 { return &n.kills }, func(n *state) { n.end(i) })
	fault(stepKillLost, func(n *state) *uint8 { return &n.losses }, func(n *state) {
		n.end(i)
		n.lost |= of(i)
		n.rank[i] = 0
		n.compress()
	})
}

// exits ends processes that were told to stop: when the leader has answered, or when they are no
// members and find no leader (V7).
func (m *Model) exits(s state, i uint8, take func(search.Step, state)) {
	n := s
	n.end(i)
	switch {
	case s.answered.has(i), s.leader == i && s.closing && s.told.has(i) && s.up&s.gone == 0:
		take(search.Step{Kind: stepExit, A: i}, n)
	case m.Off != Alone && s.told.has(i) && s.leader == i && s.settled() && s.now().view == of(i) && s.up&s.told == of(i):
		take(search.Step{Kind: stepExit, A: i}, n)
	case m.Off != NoLeader && (s.up & s.told).has(i) && !s.leads() && (s.fresh.has(i) || s.rank[i] == s.counts && !s.now().view.has(i)):
		take(search.Step{Kind: stepExitAlone, A: i}, n)
	}
}

// Judge checks what happens for ever in a component.
func (m *Model) Judge(component iter.Seq[state], _ bool) string {
	led := false
	waits, stranded := set(1<<most-1), set(1<<most-1)
	var one state
	for s := range component {
		led = led || s.leads()
		waits &= s.up & s.told
		stranded &= s.up & s.told &^ s.now().view
		for i, r := range s.rank {
			if r != s.counts {
				stranded &^= of(uint8(i)) // it does not know yet that it is no member
			}
		}
		one = s
	}
	switch {
	case !led && stranded != 0:
		return hang
	case m.killed(&one): // see the package comment
		return ""
	case !led && one.up.decides(one.now().seats):
		return majority
	case !led && m.N == m.Seats && one.up.decides(1<<m.Seats-1):
		return returned
	case waits != 0:
		return hang
	case m.Grace && led && one.now().seats.len()%2 == 0:
		return even
	}
	return ""
}

// killed reports whether a process was killed.
func (m *Model) killed(s *state) bool { return s.kills < m.Kills || s.losses < m.Losses }

func (m *Model) unlessKilled(s *state, property string) string {
	if m.killed(s) {
		return ""
	}
	return property
}

var kinds = [...]string{
	stepStop: "%s is told to stop", stepKill: "%s is killed", stepKillLost: "%s is killed, and its directory is lost",
	stepStart: "%s starts", stepElect: "%s is elected", stepCount: "the last entry of %s counts", stepRemove: "the view without %s, which is dead (V5)",
	stepJoin: "the view with %s (V3)", stepMark: "the view with %s leaving (V7)", stepLeave: "the view without %s, which leaves (V7)",
	stepTransfer: "leadership goes to %s (V7)", stepAnswer: "the leader answers %s, which may stop (V7)",
	stepExit: "%s stops", stepExitAlone: "%s, no member, finds no leader and stops (V7)",
	stepDemote: "%s loses its seat (V1)", stepPromote: "%s gets a seat (V1)", stepGiveUp: "the absent seat of %s is given up (V1)",
}

// Describe puts a step into words.
func (m *Model) Describe(s search.Step) string {
	if s.Kind == stepReplicate {
		return fmt.Sprintf("%s gives its last entry to %v", name(s.A), set(s.B))
	}
	text, _, _ := strings.Cut(fmt.Sprintf(kinds[s.Kind], name(s.A), name(s.B)), "%!(EXTRA")
	return text
}

// Print puts a state into words.
func (m *Model) Print(s state) string {
	var b strings.Builder
	fmt.Fprintf(&b, "up %v, told to stop %v, members %v, leader %s", s.up, s.told, s.joined, name(s.leader))
	for i := range m.N {
		e := s.entries[s.rank[i]]
		fmt.Fprintf(&b, "; %s has %d: seats %v, view %v, leaving %v", name(i), s.rank[i], e.seats, e.view, e.marked)
	}
	fmt.Fprintf(&b, "; %d counts", s.counts)
	return b.String()
}

func name(i uint8) string {
	if i == none {
		return "all"
	}
	return string(rune('A' + i))
}

func (s set) String() string {
	text := ""
	for i := range uint8(most) {
		if s.has(i) {
			text += name(i)
		}
	}
	if text == "" {
		return "-"
	}
	return text
}
