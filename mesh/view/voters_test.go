package view

import (
	"fmt"
	"strings"
	"testing"
)

// ids splits "a b c"; a trailing * on a voter's name means a non-voter.
func ids(s string) []string { return strings.Fields(s) }

func seatsOf(s string) []Seat {
	var seats []Seat
	for _, f := range strings.Fields(s) {
		seats = append(seats, Seat{ID: strings.TrimSuffix(f, "*"), Voter: !strings.HasSuffix(f, "*")})
	}
	return seats
}

// V1: voters are odd, at most five, and follow the members.
func TestNextChangeOfVoters(t *testing.T) {
	tests := []struct {
		name          string
		seats         string // a* is a non-voter
		stay, leaving string
		live, ready   string
		want          Change
	}{
		{"one member is enough", "a", "a", "", "a", "", Change{}},
		{"two members keep one voter", "a", "a b", "", "a b", "", Change{}},
		{"third member: stage the first candidate", "a", "a b c", "", "a b c", "", Change{changeStage, "b"}},
		{"then the second", "a b*", "a b c", "", "a b c", "", Change{changeStage, "c"}},
		{"no promotion to an even number", "a b* c*", "a b c", "", "a b c", "b", Change{}},
		{"both are ready", "a b* c*", "a b c", "", "a b c", "b c", Change{changePromote, "b"}},
		{"and the second", "a b c*", "a b c", "", "a b c", "c", Change{changePromote, "c"}},
		{"complete", "a b c", "a b c", "", "a b c", "", Change{}},
		{"a fourth member changes nothing", "a b c", "a b c d", "", "a b c d", "", Change{}},
		{"a fifth makes five", "a b c", "a b c d e", "", "a b c d e", "", Change{changeStage, "d"}},
		{"never more than five", "a b c d e", "a b c d e f g", "", "a b c d e f g", "", Change{}},
		{"a dead voter keeps its seat", "a b c", "a b", "", "a b", "", Change{}},
		{"a dead voter's seat waits for a candidate", "a b c", "a b d", "", "a b d", "", Change{changeStage, "d"}},
		{"until it has caught up", "a b c d*", "a b d", "", "a b d", "", Change{}},
		{"then the dead one's seat goes first", "a b c d*", "a b d", "", "a b d", "d", Change{changeDemote, "c"}},
		{"then the live one is promoted", "a b c* d*", "a b d", "", "a b d", "d", Change{changePromote, "d"}},
		{"what is left of the dead one goes", "a b d c*", "a b d", "", "a b d", "", Change{changeRemove, "c"}},
		{"a restarted voter is not removed", "a b c*", "a b", "", "a b c", "", Change{changeDemote, "b"}},
		{"a voter that leaves goes while it can vote for it", "a b c", "a b", "c", "a b c", "", Change{changeDemote, "c"}},
		{"what stays is made odd", "a b c*", "a b", "c", "a b c", "", Change{changeDemote, "b"}},
		{"the leader is not demoted by itself", "b a c*", "b a", "c", "a b c", "", Change{changeDemote, "b"}},
		{"a leader that leaves hands over", "a b c", "b c", "a", "a b c", "", Change{changeTransfer, "a"}},
		{"the only voter leaves: first another", "a", "b", "a", "a b", "", Change{changeStage, "b"}},
		{"first another is promoted", "a b*", "b", "a", "a b", "b", Change{changePromote, "b"}},
		{"then it hands over", "a b", "b", "a", "a b", "", Change{changeTransfer, "a"}},
		{"two leave at once: the other one first", "a b c", "c", "a b", "a b c", "", Change{changeDemote, "b"}},
		{"who was evicted and lives keeps its seat", "a b c d*", "a b d", "", "a b c d", "d", Change{}},
		{"and does not make one too many", "a b c", "a b", "", "a b c", "", Change{}},
		{"nor one too few when another is dead", "a b c d*", "a d e", "", "a b d e", "d", Change{changeDemote, "c"}},
		{"no change that cannot be committed", "a b c", "a", "b", "a b", "", Change{}},
		{"a silent candidate is not staged", "a", "a b c", "", "a", "", Change{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := electorate{
				self: "a", seats: seatsOf(tt.seats), stay: ids(tt.stay), leaving: ids(tt.leaving),
				live: set(ids(tt.live)), ready: set(ids(tt.ready)),
			}
			if got := e.next(); got != tt.want {
				t.Errorf("next change is %q, want %q", got, tt.want)
			}
		})
	}
}

// Whatever the members do, following the plan step by step ends, with an odd
// number of live voters that are members, and every step can be committed.
func TestVotersSettle(t *testing.T) {
	for members := 1; members <= 8; members++ {
		for leavers := 0; leavers < members; leavers++ {
			name := fmt.Sprintf("%d members, %d leave", members, leavers)
			var all []string
			for i := range members {
				all = append(all, string(rune('a'+i)))
			}
			e := electorate{self: "a", seats: seatsOf("a"), stay: all, live: set(all), ready: set(all)}
			settle(t, name, &e)
			e.stay, e.leaving = all[leavers:], all[:leavers]
			settle(t, name, &e)
			want := odd(min(members-leavers, MaxVoters))
			voters, _ := e.split()
			stay := set(e.stay)
			for _, v := range voters {
				if !stay[v] {
					t.Errorf("%s: %s still votes", name, v)
				}
			}
			if len(voters) != want {
				t.Errorf("%s: %d voters, want %d", name, len(voters), want)
			}
		}
	}
}

// settle follows the plan to its end.
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
		switch c.kind {
		case changeStage:
			e.seats = append(e.seats, Seat{ID: c.id})
		case changeRemove:
			for i, s := range e.seats {
				if s.ID == c.id {
					e.seats = append(e.seats[:i:i], e.seats[i+1:]...)
					break
				}
			}
		case changeTransfer:
			if len(e.stay) == 0 {
				t.Fatalf("%s: leadership goes to nobody", name)
			}
			voters, _ := e.split()
			for _, v := range voters {
				if v != e.self {
					e.self = v
					break
				}
			}
		default:
			for i := range e.seats {
				if e.seats[i].ID == c.id {
					e.seats[i].Voter = c.kind == changePromote
				}
			}
		}
		voters, _ := e.split()
		if !e.commits(voters, "", "") {
			t.Fatalf("%s: after %v the voters %v have no live majority", name, c, voters)
		}
	}
}
