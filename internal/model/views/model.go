package views

import (
	"fmt"
	"iter"
	"strings"

	"github.com/sgkandale/sharelock/internal/model/search"
)

// Model is an instance: a mesh and the faults that may happen to it, each at any time.
type Model struct {
	// N is the number of processes; all but the Joiners are members at the start.
	N, Joiners uint8
	// R is the number of copies.
	R int
	// JoinersClaim and MarkedTakeOver switch on two sentences of V5 that most instances leave out, to
	// show what they add: a voter that asks to join makes claims, too, and leadership is handed to a
	// marked voter if there is no other.
	JoinersClaim, MarkedTakeOver bool
	// Exceeds means that the faults exceed what R covers, so DURABILITY is not checked.
	Exceeds bool
	// Off is the rule that is switched off.
	Off Rule

	Crashes, Cuts, OneWays, Heals, Deafs, Mutes, Pauses, Lates, Leaves, Elections, Restarts uint8
}

// Initial yields a healthy mesh with every possible voter set, leader and replica set.
func (m *Model) Initial() iter.Seq[state] {
	return func(yield func(state) bool) {
		members := m.N - m.Joiners
		for voters := range set(1 << members) {
			if voters.len() != min(3, int(members)) {
				continue
			}
			for leader := range members {
				if !voters.has(leader) {
					continue
				}
				s := state{
					up: all(m.N), leader: leader, voters: voters, in: all(members),
					cur: all(members), leased: all(members), phase: active,
					left: faults{
						m.Crashes, m.Cuts, m.OneWays, m.Heals, m.Deafs, m.Mutes, m.Pauses, m.Lates, m.Leaves, m.Elections, m.Restarts,
					},
				}
				for i := range members {
					s.order[i] = i
				}
				stop := false
				m.place(s, func(s state) {
					for a := range members {
						if s.replicas.has(a) {
							s.have[a] = 1
						}
					}
					s.synced, s.last, s.lastSet, s.lastOwner = s.replicas, s.replicas, s.replicas, s.owner
					stop = stop || !yield(s)
				})
				if stop {
					return
				}
			}
		}
	}
}

// Next takes all steps from a state.
func (m *Model) Next(s state, to func(search.Step, state)) {
	take := func(step search.Step, n state) {
		n.tidy()
		to(step, n)
	}
	m.faults(s, take)
	for a := range m.N {
		if s.paused.has(a) {
			n := s
			n.paused &^= of(a)
			take(search.Step{Kind: stepWake, A: a}, n)
		}
		if s.leased.has(a) && !s.in.has(a) {
			n := s
			n.leased &^= of(a)
			take(search.Step{Kind: stepLeaseEnds, A: a}, n)
		}
		m.renew(s, a, take)
		m.beSilent(s, a, take)
		m.join(s, a, take)
	}
	m.elections(s, take)
	m.irregular(s, take)
	m.deafness(s, take)
	m.propose(s, take)
	m.activate(s, take)
}

// Judge checks what happens for ever in a component.
func (m *Model) Judge(component iter.Seq[state], changes bool) string {
	led, served := false, false
	broken := ^uint16(0)
	for s := range component {
		led = led || s.leads() && (s.callers(s.leader)&^s.mute).majority(s.voters) && s.up&^s.leaving != 0
		served = served || s.served()
		broken &= s.tornPairs()
	}
	switch {
	case !led:
		return ""
	case !served:
		return liveness
	case changes:
		return flapping
	case broken != 0:
		return torn
	}
	return ""
}

// tornPairs returns a bit for every pair of unmarked members that cannot call each other.
func (s *state) tornPairs() (pairs uint16) {
	for a := range uint8(most) {
		for b := range uint8(most) {
			if s.placed().has(a) && s.placed().has(b) && s.up.has(a) && s.up.has(b) && !s.calls(a, b) {
				pairs |= 1 << (most*a + b)
			}
		}
	}
	return pairs
}

var kinds = [...]string{
	stepCrash: "%[1]s crashes", stepCut: "%[1]s and %[2]s are cut off from each other",
	stepCutOneWay: "%[1]s can no longer call %[2]s", stepHeal: "%[1]s and %[2]s are connected again",
	stepDeafen: "%[1]s answers nothing but renews", stepMute: "%[1]s calls the others but does not renew any more", stepPause: "%[1]s is paused", stepLate: "%[1]s renews irregularly from now on",
	stepAskToLeave: "%[1]s asks to leave (V7)", stepElectAnyway: "%[1]s is elected for no reason", stepRestart: "%[1]s starts again, empty",
	stepWake: "%[1]s goes on", stepRenew: "%[1]s renews and says for whom it waits (V4, V6)",
	stepRenewWaiting: "%[1]s renews; it has not waited for a second (V4, V6)", stepJoin: "%[1]s asks to join and says who calls it", stepSilent: "%[1]s does not renew (V5)",
	stepLeaseEnds: "%[1]s's lease ends", stepElect: "%[1]s is elected",
	stepHandOverLost:   "the leader hears no majority and hands over to %[1]s (V5)",
	stepHandOverSilent: "the leader hands over to %[1]s because %[2]s is silent (V5)",
	stepHandOverMarked: "the leader is to leave and hands over to %[1]s (V6a)",
	stepDeaf:           "%[1]s is renewed no more (V6, V6a)", stepIrregular: "%[1]s is chosen for missing renewals (V6a)",
	stepView: "a new view", stepChoose: "%[1]s chooses the copy of %[2]s (4.2, 4.3)",
	stepFetch: "%[1]s fetches the copy of %[2]s (4.4)", stepSync: "%[1]s syncs %[2]s (4.4)",
	stepServe: "%[1]s serves (4.5)", stepTell: "%[1]s tells %[2]s that the partition is active (G1)",
}

// Describe puts a step into words.
func (m *Model) Describe(s search.Step) string {
	if s.Kind == stepAsk {
		return fmt.Sprintf("%s has the answers of %s (4.1)", name(s.A), set(s.B))
	}
	text := fmt.Sprintf(kinds[s.Kind], name(s.A), name(s.B))
	text, _, _ = strings.Cut(text, "%!(EXTRA")
	return text
}

// Print puts a state into words.
func (m *Model) Print(s state) string {
	var b strings.Builder
	fmt.Fprintf(&b, "view %s", s.in)
	if s.marked != 0 {
		fmt.Fprintf(&b, ", leaving %s", s.marked)
	}
	fmt.Fprintf(&b, ", S(p) = %s of %s, phase %d, leader %s, voters %s, up %s; ", name(s.owner), s.replicas, s.phase, name(s.leader), s.voters, s.up)
	for a := range m.N {
		if s.cut[a] != 0 {
			fmt.Fprintf(&b, "%s cannot call %s; ", name(a), s.cut[a])
		}
	}
	fmt.Fprintf(&b, "have %v, last decision at %s, installed %s, leased %s, silence %v, stopped %s, complaints %v, history %b",
		s.have[:m.N], s.last, s.cur, s.leased, s.silence[:m.N], s.stopped, s.complaints[:m.N], s.gaps)
	return b.String()
}

func name(a uint8) string {
	if a == none {
		return "nobody"
	}
	return string(rune('A' + a))
}

func (s set) String() string {
	text := "-"
	for a := range uint8(most) {
		if s.has(a) {
			text += name(a)
		}
	}
	if len(text) > 1 {
		return text[1:]
	}
	return text
}
