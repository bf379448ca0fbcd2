package mesh

import (
	"fmt"
	"strings"
	"testing"
)

// ids splits "a b c"; a trailing * on a voter's name means a non-voter.
func ids(s string) []string { return strings.Fields(s) }

func seatsOf(s string) []seat {
	var seats []seat
	for _, f := range strings.Fields(s) {
		seats = append(seats, seat{id: strings.TrimSuffix(f, "*"), voter: !strings.HasSuffix(f, "*")})
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
		want          change
	}{
		{"one member is enough", "a", "a", "", "a", "", change{}},
		{"two members keep one voter", "a", "a b", "", "a b", "", change{}},
		{"third member: stage the first candidate", "a", "a b c", "", "a b c", "", change{changeStage, "b"}},
		{"then the second", "a b*", "a b c", "", "a b c", "", change{changeStage, "c"}},
		{"no promotion to an even number", "a b* c*", "a b c", "", "a b c", "b", change{}},
		{"both are ready", "a b* c*", "a b c", "", "a b c", "b c", change{changePromote, "b"}},
		{"and the second", "a b c*", "a b c", "", "a b c", "c", change{changePromote, "c"}},
		{"complete", "a b c", "a b c", "", "a b c", "", change{}},
		{"a fourth member changes nothing", "a b c", "a b c d", "", "a b c d", "", change{}},
		{"a fifth makes five", "a b c", "a b c d e", "", "a b c d e", "", change{changeStage, "d"}},
		{"never more than five", "a b c d e", "a b c d e f g", "", "a b c d e f g", "", change{}},
		{"a dead voter keeps its seat", "a b c", "a b", "", "a b", "", change{}},
		{"a dead voter's seat waits for a candidate", "a b c", "a b d", "", "a b d", "", change{changeStage, "d"}},
		{"until it has caught up", "a b c d*", "a b d", "", "a b d", "", change{}},
		{"then the dead one's seat goes first", "a b c d*", "a b d", "", "a b d", "d", change{changeDemote, "c"}},
		{"then the live one is promoted", "a b c* d*", "a b d", "", "a b d", "d", change{changePromote, "d"}},
		{"what is left of the dead one goes", "a b d c*", "a b d", "", "a b d", "", change{changeRemove, "c"}},
		{"a restarted voter is not removed", "a b c*", "a b", "", "a b c", "", change{changeDemote, "b"}},
		{"a voter that leaves goes while it can vote for it", "a b c", "a b", "c", "a b c", "", change{changeDemote, "c"}},
		{"what stays is made odd", "a b c*", "a b", "c", "a b c", "", change{changeDemote, "b"}},
		{"the leader is not demoted by itself", "b a c*", "b a", "c", "a b c", "", change{changeDemote, "b"}},
		{"a leader that leaves hands over", "a b c", "b c", "a", "a b c", "", change{changeTransfer, "a"}},
		{"the only voter leaves: first another", "a", "b", "a", "a b", "", change{changeStage, "b"}},
		{"first another is promoted", "a b*", "b", "a", "a b", "b", change{changePromote, "b"}},
		{"then it hands over", "a b", "b", "a", "a b", "", change{changeTransfer, "a"}},
		{"two leave at once: the other one first", "a b c", "c", "a b", "a b c", "", change{changeDemote, "b"}},
		{"no change that cannot be committed", "a b c", "a", "b", "a b", "", change{}},
		{"a silent candidate is not staged", "a", "a b c", "", "a", "", change{}},
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
			want := odd(min(members-leavers, maxVoters))
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
			e.seats = append(e.seats, seat{id: c.id})
		case changeRemove:
			for i, s := range e.seats {
				if s.id == c.id {
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
				if e.seats[i].id == c.id {
					e.seats[i].voter = c.kind == changePromote
				}
			}
		}
		voters, _ := e.split()
		if !e.commits(voters, "", "") {
			t.Fatalf("%s: after %v the voters %v have no live majority", name, c, voters)
		}
	}
}
