package seats

import (
	"os"
	"testing"
	"time"

	"github.com/sgkandale/sharelock/internal/model/search"
)

const limit = 15e6

// size says when an instance is searched: in every test run, with make model MODEL=short (in CI), or with
// make model.
type size int

const (
	always size = iota
	short
	full
)

// instances are the meshes in which no property may be violated.
var instances = []struct {
	name  string
	size  size
	model Model
}{
	{"3 seats, three stops", always, Model{N: 3, Seats: 3, Stops: 3}},
	{"3 seats, three stops, two starts", always, Model{N: 3, Seats: 3, Stops: 3, Starts: 2}},
	{"3 seats, four stops, four starts", full, Model{N: 3, Seats: 3, Stops: 4, Starts: 4}},
	{"3 seats, a stop, a kill, a start", always, Model{N: 3, Seats: 3, Stops: 1, Kills: 1, Starts: 1}},
	{"3 seats, three stops, a kill, two starts", full, Model{N: 3, Seats: 3, Stops: 3, Kills: 1, Starts: 2}},
	{"3 seats, two kills, three starts", short, Model{N: 3, Seats: 3, Kills: 2, Starts: 3}},
	{"3 seats and a spare, four stops", short, Model{N: 4, Seats: 3, Spares: 1, Stops: 4}},
	{"3 seats and a spare, three stops, two starts", short, Model{N: 4, Seats: 3, Spares: 1, Stops: 3, Starts: 2}},
	{"3 seats and a spare, two stops, a kill", short, Model{N: 4, Seats: 3, Spares: 1, Stops: 2, Kills: 1}},
	{"3 seats and a joiner, two stops, two starts", always, Model{N: 4, Seats: 3, Stops: 2, Starts: 2}},
	{"3 seats and a joiner, a stop, a lost directory, two starts", full, Model{N: 4, Seats: 3, Stops: 1, Losses: 1, Starts: 2}},
	{"3 seats and two spares, three stops", short, Model{N: 5, Seats: 3, Spares: 2, Stops: 3}},
	{"5 seats, three stops", always, Model{N: 5, Seats: 5, Stops: 3}},
	{"5 seats, five stops", full, Model{N: 5, Seats: 5, Stops: 5}},
	{"5 seats, three stops, two starts", full, Model{N: 5, Seats: 5, Stops: 3, Starts: 2}},
	{"5 seats, three stops, seat_grace", full, Model{N: 5, Seats: 5, Stops: 3, Grace: true}},
	{"5 seats, a stop, a kill", full, Model{N: 5, Seats: 5, Stops: 1, Kills: 1}},
	{"5 seats and a spare, three stops", full, Model{N: 6, Seats: 5, Spares: 1, Stops: 3}},
}

func TestModel(t *testing.T) {
	sizes := map[string]size{"": always, "short": short, "full": full}
	most, known := sizes[os.Getenv("SHARELOCK_MODEL")]
	if !known {
		t.Fatal("SHARELOCK_MODEL is short or full")
	}
	for _, in := range instances {
		if in.size > most {
			continue
		}
		t.Run(in.name, func(t *testing.T) {
			if most > always {
				t.Parallel()
			}
			start := time.Now()
			r := search.Run(&in.model, limit)
			t.Logf("%s: %d states, %d ends, %.1f s", in.name, r.States, r.Ends, time.Since(start).Seconds())
			if r.Broken != "" {
				t.Errorf("%s\n%s", r.Broken, r.Trace)
			}
		})
	}
}

// Each rule is needed: without it the search finds a violation, in the smallest instance known.
func TestRules(t *testing.T) {
	tests := []struct {
		name  string
		model Model
		want  string
	}{
		{"Raft, elections compare logs", Model{Off: Newest, N: 3, Seats: 3, Stops: 1, Kills: 1, Starts: 1}, two},
		{"V1, a stop keeps its seat", Model{Off: KeepSeat, N: 3, Seats: 3, Stops: 3, Starts: 2}, hang},
		{"V1, seats are given up in pairs", Model{Off: Pairs, N: 5, Seats: 5, Stops: 1, Grace: true}, even},
		{"V7, votes until answered", Model{Off: VoteUntilAnswered, N: 4, Seats: 3, Spares: 1, Stops: 2}, choice},
		{"V7, who was let go is absent", Model{Off: CountGone, N: 4, Seats: 3, Spares: 1, Stops: 2}, choice},
		{"V7, a live process takes the seat first", Model{Off: SeatTaken, N: 4, Seats: 3, Spares: 1, Stops: 2}, choice},
		{"V7, absent seats are given up first", Model{Off: GiveUpFirst, N: 5, Seats: 5, Stops: 3}, shrink},
		{"V7, a marked leader hands over", Model{Off: HandOver, N: 4, Seats: 3, Spares: 1, Stops: 2}, hang},
		{"V7, all are told to stop", Model{Off: AllTold, N: 3, Seats: 3, Stops: 3, Starts: 2}, hang},
		{"V7, a leader alone in its view stops", Model{Off: Alone, N: 3, Seats: 3, Stops: 3, Starts: 2}, hang},
		{"V7, who finds no leader stops", Model{Off: NoLeader, N: 3, Seats: 3, Stops: 2, Kills: 1}, hang},
	}
	tested := map[Rule]bool{AllRules: true}
	for _, tt := range tests {
		tested[tt.model.Off] = true
		t.Run(tt.name, func(t *testing.T) {
			r := search.Run(&tt.model, limit)
			t.Logf("without %s: %s, after %d states\n%s", tt.name, r.Broken, r.States, r.Trace)
			if r.Broken != tt.want {
				t.Errorf("found %q, want %q", r.Broken, tt.want)
			}
		})
	}
	for rule := range NoLeader + 1 {
		if !tested[rule] {
			t.Errorf("rule %d is never switched off", rule)
		}
	}
}
