package view

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// ids splits "a b c"; a trailing * on a voter's name means a non-voter.
func ids(s string) []string { return strings.Fields(s) }

func seatsOf(s string) []Seat {
	var seats []Seat
	for f := range strings.FieldsSeq(s) {
		seats = append(seats, Seat{ID: strings.TrimSuffix(f, "*"), Voter: !strings.HasSuffix(f, "*")})
	}
	return seats
}

// V1: the number of seats is odd, at most five, and seats outlive the absence of their
// holders.
func TestNextChangeOfVoters(t *testing.T) {
	tests := []struct {
		name        string
		seats       string // a* is a non-voter
		stay        string
		stop        string // told to stop: "b" in the view, "b." waits to be let go, "b!" for good
		live, ready string
		overdue     string
		want        Change
	}{
		{"one member is enough", "a", "a", "", "a", "", "", Change{}},
		{"two members keep one voter", "a", "a b", "", "a b", "", "", Change{}},
		{"third member: stage the first candidate", "a", "a b c", "", "a b c", "", "", Change{changeStage, "b"}},
		{"then the second", "a b*", "a b c", "", "a b c", "", "", Change{changeStage, "c"}},
		{"no promotion to an even number", "a b* c*", "a b c", "", "a b c", "b", "", Change{}},
		{"both are ready", "a b* c*", "a b c", "", "a b c", "b c", "", Change{changePromote, "b"}},
		{"and the second", "a b c*", "a b c", "", "a b c", "c", "", Change{changePromote, "c"}},
		{"complete", "a b c", "a b c", "", "a b c", "", "", Change{}},
		{"a fourth member changes nothing", "a b c", "a b c d", "", "a b c d", "", "", Change{}},
		{"a fifth makes five", "a b c", "a b c d e", "", "a b c d e", "", "", Change{changeStage, "d"}},
		{"never more than five", "a b c d e", "a b c d e f g", "", "a b c d e f g", "", "", Change{}},

		{"a dead voter keeps its seat", "a b c", "a b", "", "a b", "", "", Change{}},
		{"for how long ever, of three", "a b c", "a b", "", "a b", "", "c", Change{}},
		{"a dead voter's seat waits for a candidate", "a b c", "a b d", "", "a b d", "", "", Change{changeStage, "d"}},
		{"until it has caught up", "a b c d*", "a b d", "", "a b d", "", "", Change{}},
		{"then the dead one's seat goes first", "a b c d*", "a b d", "", "a b d", "d", "", Change{changeDemote, "c"}},
		{"then the live one is promoted", "a b c* d*", "a b d", "", "a b d", "d", "", Change{changePromote, "d"}},
		{"what is left of the dead one goes", "a b d c*", "a b d", "", "a b d", "", "", Change{changeRemove, "c"}},
		{"a restarted voter takes the seat that is free", "a b c*", "a b c", "", "a b c", "c", "", Change{changePromote, "c"}},
		{"who was evicted and lives keeps its seat", "a b c d*", "a b d", "", "a b c d", "d", "", Change{}},
		{"when another is dead, that one gives way", "a b c d*", "a d e", "", "a b d e", "d", "", Change{changeDemote, "c"}},
		{"a dead one gives way to the only candidate", "a b c d*", "a d", "", "a b d", "d", "", Change{changeDemote, "c"}},
		{"no change that cannot be committed", "a b c d*", "a d", "", "a d", "d", "", Change{}},
		{"a silent candidate is not staged", "a", "a b c", "", "a", "", "", Change{}},
		{"one of two is dead: nothing can be committed", "a b", "a", "", "a", "", "b", Change{}},
		{"two seats wait for a third member", "a b", "a b c", "", "a b c", "", "", Change{changeStage, "c"}},
		{"which is promoted", "a b c*", "a b c", "", "a b c", "c", "", Change{changePromote, "c"}},

		{"a voter that stops keeps its seat", "a b c", "a b", "c", "a b c", "", "", Change{}},
		{"also when it waits to be let go", "a b c", "a b", "c.", "a b c", "", "", Change{}},
		{"also when a member could take it", "a b c d*", "a b d", "c.", "a b c d", "d", "", Change{}},
		{"who stops gets no seat", "a b c", "a b", "d", "a b d", "", "", Change{}},
		{"the lone seat moves while its holder votes: stage", "a", "b", "a", "a b", "", "", Change{changeStage, "b"}},
		{"then promote", "a b*", "b", "a", "a b", "b", "", Change{changePromote, "b"}},
		{"then hand leadership over", "a b", "b", "a", "a b", "", "", Change{changeTransfer, "b"}},
		{"then the other one gives it up", "b a", "a", "b", "a b", "", "", Change{changeDemote, "b"}},
		{"for good: its seat goes", "a b c", "a b", "c!", "a b c", "", "", Change{changeDemote, "c"}},
		{"not while the others could not commit that", "a b c", "a", "c!", "a c", "", "", Change{}},

		{"of five one is dead", "a b c d e", "a b c d", "", "a b c d", "", "e", Change{}},
		{"two, not for long", "a b c d e", "a b c", "", "a b c", "", "d", Change{}},
		{"a pair is given up", "a b c d e", "a b c", "", "a b c", "", "d e", Change{changeDemote, "d"}},
		{"and its second", "a b c e", "a b c", "", "a b c", "", "e", Change{changeDemote, "e"}},
		{"at once if one has to be let go that the others need", "a b c d e", "a b", "c.", "a b c", "", "", Change{changeDemote, "d"}},
		{"but not if a member could take a seat", "a b c d e", "a b f", "c.", "a b c f", "", "", Change{changeStage, "f"}},

		{"a voter whose disk fails keeps its seat", "a b c", "a b c", "", "a b c~", "", "", Change{}},
		{"until another member can take it", "a b c", "a b c d", "", "a b c~ d", "", "", Change{changeStage, "d"}},
		{"then it gives way", "a b c d*", "a b c d", "", "a b c~ d", "d", "", Change{changeDemote, "c"}},
		{"to that member, not to itself", "a b c* d*", "a b c d", "", "a b c~ d", "c d", "", Change{changePromote, "d"}},
		{"and gets none", "a b d c*", "a b c d", "", "a b c~ d", "c", "", Change{}},
		{"not if the others could not commit that", "a b c d*", "a b c d", "", "a b~ c~ d", "d", "", Change{}},
		{"a candidate whose disk fails is none", "a b c", "a b d", "", "a b d~", "", "", Change{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := electorateOf(tt.seats, tt.stay, tt.stop, tt.live, tt.ready)
			e.overdue = set(ids(tt.overdue))
			if got := e.next(); got != tt.want {
				t.Errorf("next change is %q, want %q", got, tt.want)
			}
		})
	}
}

// electorateOf returns what the leader a knows. stop is as in TestNextChangeOfVoters; "c~" in live
// is a process whose disk fails.
func electorateOf(seats, stay, stop, live, ready string) electorate {
	e := electorate{
		self: "a", seats: seatsOf(seats), stay: ids(stay), live: set(ids(live)), ready: set(ids(ready)),
		stopping: map[string]bool{}, forGood: map[string]bool{}, given: map[string]bool{}, mute: map[string]bool{},
	}
	for _, f := range ids(live) {
		if id, ok := strings.CutSuffix(f, "~"); ok {
			e.live[id], e.mute[id] = true, true
		}
	}
	for _, f := range ids(stop) {
		id := strings.TrimRight(f, ".!")
		e.stopping[id] = true
		e.forGood[id] = strings.HasSuffix(f, "!")
		switch {
		case f != id:
			e.waiting = append(e.waiting, id)
		case !set(e.stay)[id]:
			e.leaving = append(e.leaving, id)
		}
	}
	return e
}

// An operator can give up the seat of an absent voter (V1).
func TestGivenSeatGoes(t *testing.T) {
	e := electorateOf("a b c", "a b", "", "a b", "")
	e.given["c"] = true
	if got, want := e.next(), (Change{changeDemote, "c"}); got != want {
		t.Errorf("next change is %q, want %q", got, want)
	}
	e = electorateOf("a b c", "a b c", "", "a b c", "")
	e.given["c"] = true
	if got := e.next(); got != (Change{}) {
		t.Errorf("the seat of a voter that answers is given up: %q", got)
	}
}

// V7: which processes may stop.
func TestRelease(t *testing.T) {
	tests := []struct {
		name              string
		seats, stay, stop string
		live              string
		joiners           bool
		who               string
		ok                bool
		warn, wait        string
	}{
		{"no voter", "a b c", "a b c", "d.", "a b c d", false, "d", true, "", ""},
		{"two of three answer", "a b c", "a b", "c.", "a b c", false, "c", true, "", ""},
		{"one of three answers", "a b c", "a", "b.", "a b", false, "b", true, "1 of 3 seats answers after this", ""},
		{"a member could take a seat", "a b c", "a d", "b.", "a b d", false, "b", false, "", "member d is to take a seat first"},
		{"but stops", "a b c", "a d", "b. d", "a b d", false, "b", false, "", "member d is leaving first"},
		{"a joiner could", "a b c", "a", "b.", "a b", true, "b", false, "", "a process asks to join and may take a seat"},
		{"another one leaves", "a b c", "a", "b. d", "a b d", false, "b", false, "", "member d is leaving first"},
		{"a pair is to be given up", "a b c d e", "a b", "c.", "a b c", false, "c", false, "", "absent seats are given up first"},
		{"its second, too", "a b c e", "a b", "c.", "a b c", false, "c", false, "", "absent seats are given up first"},
		{"four of five answer", "a b c d e", "a b c d", "e.", "a b c d e", false, "e", true, "", ""},
		{"one that is not needed waits, too", "a b c", "a", "b. d.", "a b d", false, "b", false, "", "d is let go first"},
		{"which goes", "a b c", "a", "b. d.", "a b d", false, "d", true, "", ""},
		{"the last one", "a", "", "a.", "a", false, "a", true, "0 of 1 seats answers after this", ""},
		{"the seat of the one of two goes first", "a b", "a", "b.", "a b", false, "b", false, "", "its seat goes first"},
		{"the other of two is dead", "a b", "", "a.", "a", false, "a", true, "0 of 2 seats answers after this", ""},
		{"for good", "a b c", "a b", "c!", "a b c", false, "c", false, "", "its seat is given up first"},
		{"for good, and has no seat any more", "a b c*", "a b", "c!", "a b c", false, "c", true, "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := electorateOf(tt.seats, tt.stay, tt.stop, tt.live, "")
			e.joiners = tt.joiners
			if ok, warn, wait := e.release(tt.who); ok != tt.ok || warn != tt.warn || wait != tt.wait {
				t.Errorf("got %t, %q, %q, want %t, %q, %q", ok, warn, wait, tt.ok, tt.warn, tt.wait)
			}
		})
	}
}

// V7: the voter to which a leader that was told to stop hands leadership.
func TestHeir(t *testing.T) {
	for _, tt := range []struct{ seats, stay, stop, live, want string }{
		{"a b c", "b c", "a", "a b c", "b"},
		{"a b c", "b c", "a b", "a b c", "c"},
		{"a b c", "b c", "a b c", "a b c", "b"}, // a voter that was told to stop, if there is no other
		{"a b c", "b c", "a", "a c", "c"},
		{"a b*", "b", "a", "a b", ""},
	} {
		if got := electorateOf(tt.seats, tt.stay, tt.stop, tt.live, "").heir(); got != tt.want {
			t.Errorf("%+v: heir is %q", tt, got)
		}
	}
}

// Whatever the members do, making the next change step by step ends with an odd number of live
// voters that are members, and every change can be committed.
func TestVotersSettle(t *testing.T) {
	for members := 1; members <= 8; members++ {
		for dead := range members {
			name := fmt.Sprintf("%d members, %d die", members, dead)
			var all []string
			for i := range members {
				all = append(all, string(rune('a'+i)))
			}
			e := electorateOf("a", strings.Join(all, " "), "", strings.Join(all, " "), strings.Join(all, " "))
			settle(t, name, &e)
			voters, _ := e.split()
			if want := odd(min(members, MaxVoters)); len(voters) != want {
				t.Errorf("%s: %d voters, want %d", name, len(voters), want)
			}
			if dead > (len(voters)-1)/2 {
				continue
			}
			e.self, e.stay = all[members-1], all[dead:]
			if !set(voters)[e.self] {
				e.self = voters[len(voters)-1]
			}
			e.live = set(e.stay)
			settle(t, name, &e)
			after, _ := e.split()
			if len(after) != len(voters) {
				t.Errorf("%s: %d seats, then %d", name, len(voters), len(after))
			}
			present, _ := e.divide(after)
			if want := min(len(after), len(e.stay)); len(present) != want {
				t.Errorf("%s: of the voters %v only %v live, want %d", name, after, present, want)
			}
		}
	}
}

// settle makes the next change until there is none.
func settle(t *testing.T, name string, e *electorate) {
	t.Helper()
	for step := 0; ; step++ {
		c := e.next()
		if c.kind == changeNone {
			return
		}
		if step > 50 {
			t.Fatalf("%s: does not settle: %+v", name, e)
		}
		e.seats = reseat(e.seats, c)
		voters, _ := e.split()
		if !e.commits(voters, "", "") {
			t.Fatalf("%s: after %v the voters %v have no live majority", name, c, voters)
		}
	}
}

// reseat returns the seats after a change.
func reseat(seats []Seat, c Change) []Seat {
	var after []Seat
	for _, s := range seats {
		switch {
		case s.ID != c.id:
			after = append(after, s)
		case c.kind == changePromote, c.kind == changeDemote:
			after = append(after, Seat{ID: s.ID, Voter: c.kind == changePromote})
		case c.kind != changeRemove:
			after = append(after, s)
		}
	}
	if c.kind == changeStage {
		after = append(after, Seat{ID: c.id})
	}
	return after
}

// A stopping leader does not hand leadership to a voter whose disk fails.
func TestHeirWhoseDiskFails(t *testing.T) {
	e := electorateOf("a b c", "b c", "a", "a b~ c", "")
	if got := e.heir(); got != "c" {
		t.Errorf("the heir is %q, want c", got)
	}
}

// V1: a change counts on the voters that confirm the leadership now. One that was heard from
// recently may have died; one that was not heard from may still be reached by the leader, and the
// seat of a voter that votes is never moved.
func TestSeatsCountConfirmedVotes(t *testing.T) {
	for _, tt := range []struct {
		name                   string
		seats, stay, stop      string
		live, ready, confirmed string
		want                   Change
	}{
		{"one voter is dead, the other silent", "a b c d*", "a d", "", "a d", "d", "b", Change{}},
		{"of five, one is dead, one silent", "a b c d e f*", "a d e f", "", "a d e f", "f", "b d e", Change{changeDemote, "c"}},
		{"of five, two are dead", "a b c d e f*", "a d e f", "", "a d e f", "f", "d e", Change{changeDemote, "b"}},
		{"the dead one was heard from last", "a b c d*", "a c d", "", "a c d", "d", "b", Change{}},
		{"both are dead", "a b c d*", "a c d", "", "a c d", "d", "", Change{}},
		{"the other one confirms", "a b c d*", "a c d", "", "a c d", "d", "c", Change{changeDemote, "b"}},
		{"no promotion by voters that died", "a b c d e*", "a b c d e", "", "a b c d e", "e", "", Change{}},
		{"promotion by voters that vote", "a b c d e*", "a b c d e", "", "a b c d e", "e", "b", Change{changePromote, "e"}},
		{"a pair is not given up while another does not answer", "a b c d e", "a b c", "c.", "a b c", "", "b", Change{}},
		{"a pair is given up while all others answer", "a b c d e", "a b", "c.", "a b c", "", "b c", Change{changeDemote, "d"}},
		{"nor is its second", "a b c e", "a b", "c.", "a b c", "", "b", Change{}},
		{"its second goes while all others answer", "a b c e", "a b", "c.", "a b c", "", "b c", Change{changeDemote, "e"}},
		{"for good, and the rest confirm", "a b c", "a b", "c!", "a b c", "", "b", Change{changeDemote, "c"}},
		{"for good, and the rest do not", "a b c", "a b", "c!", "a b c", "", "c", Change{}},
		{"a dead voter gets no leadership", "a b", "b", "a", "a b", "", "", Change{}},
		{"a voter whose disk fails does not vote", "a b c d*", "a d", "", "a b~ d", "d", "b", Change{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := electorateOf(tt.seats, tt.stay, tt.stop, tt.live, tt.ready)
			e.confirmed = set(ids(tt.confirmed))
			if got := e.next(); got != tt.want {
				t.Errorf("next change is %q, want %q", got, tt.want)
			}
		})
	}
}

// V7: a process is let go only if the voters that confirm the leadership now are a majority
// without it, and leadership is handed only to one of them.
func TestReleaseCountsConfirmedVotes(t *testing.T) {
	e := electorateOf("a b c", "a b d", "c.", "a b c d", "")
	e.confirmed = set(ids("c"))
	if ok, _, wait := e.release("c"); ok || wait != "member d is to take a seat first" {
		t.Errorf("b has died: released is %t, waits for %q", ok, wait)
	}
	e.confirmed = set(ids("b c"))
	if ok, _, wait := e.release("c"); !ok {
		t.Errorf("b votes: c waits for %q", wait)
	}
	// b was heard from recently and does not answer now. If it lives, the seat of another one can
	// be given up, or taken over, in a moment; a process that is let go cannot be called back.
	for _, tt := range []struct{ seats, stay, stop, live, who string }{
		{"a b c d e", "a b", "c.", "a b c", "c"}, // the pair d e can be given up
		{"a b c e", "a b", "c.", "a b c", "c"},   // e can be given up
		{"a b c", "a b", "c!", "a b c", "c"},     // the seat of c can be given up
		{"a b", "b", "a.", "a b", "a"},           // b can take over
	} {
		e := electorateOf(tt.seats, tt.stay, tt.stop, tt.live, "")
		e.confirmed = set(ids("c"))
		if ok, warn, wait := e.release(tt.who); ok || !strings.HasSuffix(wait, " does not answer now") && wait != "its seat goes first" {
			t.Errorf("%+v: released is %t, warns %q, waits for %q", tt, ok, warn, wait)
		}
		e.live = map[string]bool{"c": true} // b has died
		if ok, warn, wait := e.release(tt.who); !ok || warn == "" {
			t.Errorf("%+v and b has died: released is %t, warns %q, waits for %q", tt, ok, warn, wait)
		}
	}
	e = electorateOf("a b c", "b c", "a", "a b c", "")
	e.confirmed = set(ids("c"))
	if got := e.heir(); got != "c" {
		t.Errorf("the heir is %q, want c", got)
	}
}

// The leader asks only when it matters who votes: a mesh with a dead voter, and no member to take
// its seat, is left in peace.
func TestLeaderAsksWhoVotes(t *testing.T) {
	for _, tt := range []struct {
		name                           string
		seats, stay, stop, live, ready string // "c!" in seats has been absent for the seat grace
		want                           bool
	}{
		{"all is well", "a b c", "a b c", "", "a b c", "", false},
		{"more members than seats", "a b c", "a b c d", "", "a b c d", "", false},
		{"a dead voter", "a b c", "a b", "", "a b", "", false},
		{"a candidate is staged", "a b c", "a b d", "", "a b d", "", false},
		{"a seat moves", "a b c d*", "a b d", "", "a b d", "d", true},
		{"a seat could move if a silent voter voted", "a b c d*", "a d", "", "a d", "d", true},
		{"a process waits to be let go", "a b c", "a b", "c.", "a b c", "", true},
		{"the leader stops", "a b c", "b c", "a", "a b c", "", true},
		{"the leader's disk fails", "a b c", "a b c", "", "a~ b c", "", true},
		{"of three, one is overdue", "a b c!", "a b", "", "a b", "", false},
		{"of five, one is overdue", "a b c d e!", "a b c d", "", "a b c d", "", false},
		{"of five, a pair is overdue", "a b c d! e!", "a b c", "", "a b c", "", true},
		{"of five, one of a pair is overdue", "a b c d e!", "a b c", "", "a b c", "", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := electorateOf(strings.ReplaceAll(tt.seats, "!", ""), tt.stay, tt.stop, tt.live, tt.ready)
			e.overdue = map[string]bool{}
			for _, id := range ids(tt.seats) {
				id, over := strings.CutSuffix(id, "!")
				e.overdue[id] = over
			}
			if got := e.depends(e.next()); got != tt.want {
				t.Errorf("depends is %t, want %t", got, tt.want)
			}
		})
	}
}

// A voter confirms the leadership if it answers now, in the leader's term, and was not let go.
func TestWhoConfirmsTheLeadership(t *testing.T) {
	play(t, "a b c d e g f*", "a b c d e f g", func(t *testing.T, g *group) {
		l := g.elect("a", "a", "b", "c", "d", "g").lead().leader.Load()
		g.mu.Lock()
		g.down["c"], g.procs["g"].abstains = true, true
		g.mu.Unlock()
		l.mu.Lock()
		l.absences = map[string]time.Duration{"b": 1}
		l.stops.gone[g.member("d").who] = l.clock()
		l.mu.Unlock()
		e, err := l.electorate(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		voters, _ := e.split()
		// c is down, d was let go, e has not heard of the term, f does not vote, and g abstains.
		if got := l.ask(t.Context(), voters); len(got) != 1 || !got["b"] {
			t.Errorf("%v confirm the leadership, want b", got)
		}
		if since, absent := l.absences["b"]; absent {
			t.Errorf("b confirms, but counts as absent since %v", since)
		}
	})
}
