package views

import (
	"cmp"
	"os"
	"testing"
	"time"

	"github.com/sgkandale/sharelock/internal/model/search"
)

// limit bounds a search: so many states need less than 4 GiB.
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
	{"3 members, R=2, a crash, a cut, an election", always, Model{N: 3, R: 2, Crashes: 1, Cuts: 1, Elections: 1}},
	{"3 members, R=2, a crash, a one-way cut, an election", always, Model{N: 3, R: 2, Crashes: 1, OneWays: 1, Elections: 1}},
	{"3 members, R=2, a crash, two elections", short, Model{N: 3, R: 2, Crashes: 1, Elections: 2}},
	{"3 members, R=2, two cuts, an election", short, Model{N: 3, R: 2, Cuts: 2, Elections: 1}},
	{"3 members, R=2, two one-way cuts", short, Model{N: 3, R: 2, OneWays: 2}},
	{"3 members, R=2, a crash, a cut that heals", short, Model{N: 3, R: 2, Crashes: 1, Cuts: 1, Heals: 1}},
	{"3 members, R=2, a crash, a deaf one, an election", short, Model{N: 3, R: 2, Crashes: 1, Deafs: 1, Elections: 1}},
	{"3 members, R=2, a crash, a mute one, an election", always, Model{N: 3, R: 2, Crashes: 1, Mutes: 1, Elections: 1}},
	{"3 members, R=2, a crash, a pause", short, Model{N: 3, R: 2, Crashes: 1, Pauses: 1}},
	{"3 members, R=2, a one-way cut, a pause", full, Model{N: 3, R: 2, OneWays: 1, Pauses: 1}},
	{"3 members, R=2, a one-way cut, an irregular one", short, Model{N: 3, R: 2, OneWays: 1, Lates: 1}},
	{"3 members, R=2, a cut, an irregular one", always, Model{N: 3, R: 2, Cuts: 1, Lates: 1}},
	{"3 members, R=2, a crash, an irregular one, an election", always, Model{N: 3, R: 2, Crashes: 1, Lates: 1, Elections: 1}},
	{"3 members, R=2, a cut, one leaves", always, Model{N: 3, R: 2, Cuts: 1, Leaves: 1}},
	{"3 members, R=2, a crash, two leave, an election", short, Model{N: 3, R: 2, Crashes: 1, Leaves: 2, Elections: 1}},
	{"3 members, R=2, a crash and a restart, an election", short, Model{N: 3, R: 2, Crashes: 1, Restarts: 1, Elections: 1}},
	{"3 members, R=2, a crash, two cuts (too many)", short, Model{N: 3, R: 2, Crashes: 1, Cuts: 2, Exceeds: true}},
	{"3 members, R=2, a crash, two one-way cuts (too many)", full, Model{N: 3, R: 2, Crashes: 1, OneWays: 2, Exceeds: true}},
	{"3 members, R=2, a crash, a cut, one leaves (too many)", full, Model{N: 3, R: 2, Crashes: 1, Cuts: 1, Leaves: 1, Exceeds: true}},
	{"3 members, R=1, a one-way cut, an election", always, Model{N: 3, R: 1, OneWays: 1, Elections: 1}},
	{"3 members, R=1, a cut that heals, an election", short, Model{N: 3, R: 1, Cuts: 1, Heals: 1, Elections: 1}},
	{"3 members, R=1, a one-way cut, an irregular one", short, Model{N: 3, R: 1, OneWays: 1, Lates: 1}},
	{"3 members, R=1, a crash, a one-way cut", short, Model{N: 3, R: 1, Crashes: 1, OneWays: 1}},
	{"3 members, R=1, two leave, an election", always, Model{N: 3, R: 1, Leaves: 2, Elections: 1}},
	{"3 members, R=1, a pause, an election", always, Model{N: 3, R: 1, Pauses: 1, Elections: 1}},
	{"2 members and 2 joiners, R=1, a crash, a cut", full, Model{N: 4, Joiners: 2, R: 1, Crashes: 1, Cuts: 1}},
	{"2 members and 2 joiners, R=2, a one-way cut", full, Model{N: 4, Joiners: 2, R: 2, OneWays: 1}},
	{"3 members and a joiner, R=2, a crash, a cut", full, Model{N: 4, Joiners: 1, R: 2, Crashes: 1, Cuts: 1}},
	{"4 members, R=1, a cut", short, Model{N: 4, R: 1, Cuts: 1}},
	{"4 members, R=1, a one-way cut", short, Model{N: 4, R: 1, OneWays: 1}},
	{"4 members, R=2, a deaf one", full, Model{N: 4, R: 2, Deafs: 1}},
	{"4 members, R=1, three leave", full, Model{N: 4, R: 1, Leaves: 3}},
	{"4 members, R=2, a crash, an election", short, Model{N: 4, R: 2, Crashes: 1, Elections: 1}},
	{"4 members, R=2, a one-way cut, an election", full, Model{N: 4, R: 2, OneWays: 1, Elections: 1}},
	{"4 members, R=2, a crash, a cut", full, Model{N: 4, R: 2, Crashes: 1, Cuts: 1}},
	{"4 members, R=2, a crash, a one-way cut", full, Model{N: 4, R: 2, Crashes: 1, OneWays: 1}},
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

// Each rule is needed: without it the search finds a violation, in the smallest instance
// known.
func TestRules(t *testing.T) {
	tests := []struct {
		name  string
		model Model
		want  string
	}{
		{"A1, an ask stops older epochs", Model{Off: A1Stop, R: 1, Leaves: 2}, safetyTwo},
		{"4.1, all must answer", Model{Off: AskAll, R: 1, Leaves: 2}, safetyTwo},
		{"4.2, witnesses", Model{Off: Witness, R: 1, Pauses: 1}, safetyLost},
		{"4.5, all backups are synced", Model{Off: SyncAll, R: 2, Crashes: 1, Leaves: 1}, safetyLost},
		{"G1, copies are dropped when the newer epoch is active", Model{Off: DropActive, R: 2, Crashes: 1, Leaves: 1}, safetyLost},
		{"V3, a joiner is dialled back", Model{Off: DialBack, N: 3, Joiners: 1, R: 2, OneWays: 1}, flapping},
		{"V3, a joiner reached all", Model{Off: Reach, N: 3, Joiners: 1, R: 2, OneWays: 1}, flapping},
		{"V5, the lease is waited for", Model{Off: WaitLease, R: 1, Pauses: 1}, safetyTwo},
		{"V5, claims are waited for", Model{Off: WaitClaims, R: 2, Crashes: 1, Cuts: 1}, durability},
		{"V5, hand-over", Model{Off: HandOver, R: 2, Crashes: 1, Cuts: 1}, durability},
		{"V5, hand-over, a one-way cut", Model{Off: HandOver, R: 1, OneWays: 1}, durability},
		{"V5, own calls and not answers", Model{Off: OwnCalls, R: 1, OneWays: 1}, durability},
		{"V5, one hand-over for a silence", Model{Off: OneHandOver, R: 2, Mutes: 1}, flapping},
		{"V6, complaints", Model{Off: Complaints, R: 2, OneWays: 1}, liveness},
		{"V6, complaints, a pair that needs nothing of each other", Model{Off: Complaints, R: 1, OneWays: 1}, torn},
		{"V6a, marked and not removed", Model{Off: Mark, R: 2, Crashes: 1, Cuts: 1}, durability},
		{"V6a, marked and not removed, no crash", Model{Off: Mark, R: 1, Cuts: 1}, durability},
		{"V6a, relay", Model{Off: Relay, R: 2, Crashes: 1, Cuts: 1}, durability},
		{"V6a, relay by calls to the leader", Model{Off: RelayByMembers, R: 2, Crashes: 1, OneWays: 1}, durability},
		{"V6a, removed when told", Model{Off: ToldFirst, R: 2, Crashes: 1, Cuts: 1}, durability},
		{"V7, removed when told, no fault", Model{Off: ToldFirst, R: 1, Leaves: 2}, safetyTwo},
		{"V6a, the deaf", Model{Off: Deaf, R: 2, Deafs: 1}, liveness},
		{"V6a, an irregular member is marked", Model{Off: Irregular, R: 1, OneWays: 1, Lates: 1}, durability},
		{"V7, a view keeps an unmarked member", Model{Off: Unmarked, R: 2, Crashes: 1, Cuts: 1, Leaves: 1, Exceeds: true}, liveness},
	}
	tested := map[Rule]bool{AllRules: true}
	for _, tt := range tests {
		tested[tt.model.Off] = true
		t.Run(tt.name, func(t *testing.T) {
			tt.model.N = cmp.Or(tt.model.N, 3)
			r := search.Run(&tt.model, limit)
			t.Logf("without %s: %s, after %d states\n%s", tt.name, r.Broken, r.States, r.Trace)
			if r.Broken != tt.want {
				t.Errorf("found %q, want %q", r.Broken, tt.want)
			}
		})
	}
	for rule := range Unmarked + 1 {
		if !tested[rule] {
			t.Errorf("rule %d is never switched off", rule)
		}
	}
}

// Faults that the rules do not cover, and additional rules that would cover them: see Model.
func TestBeyond(t *testing.T) {
	tests := []struct {
		name  string
		model Model
	}{
		{"a voter joins while a cut member is silent", Model{N: 3, R: 2, Crashes: 1, Restarts: 1, OneWays: 1, JoinersClaim: true}},
		{"the only bridge of a cut pair leaves", Model{N: 3, R: 1, Cuts: 1, Leaves: 1, MarkedTakeOver: true}},
		{"the only bridge of a cut pair is irregular", Model{N: 3, R: 1, Cuts: 1, Lates: 1, MarkedTakeOver: true}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if r := search.Run(&tt.model, limit); r.Broken != "" {
				t.Errorf("with the rule: %s\n%s", r.Broken, r.Trace)
			}
			tt.model.JoinersClaim, tt.model.MarkedTakeOver = false, false
			r := search.Run(&tt.model, limit)
			t.Logf("%s: %s\n%s", tt.name, r.Broken, r.Trace)
			if r.Broken != durability {
				t.Errorf("without the rule: %q", r.Broken)
			}
		})
	}
}
