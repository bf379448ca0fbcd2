package condition_test

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sgkandale/sharelock/mesh/condition"
)

var (
	a = condition.Voter{Name: "a", ID: "1a", Addr: "10.0.0.1:50053", Answers: true, InView: true}
	b = condition.Voter{Name: "b", ID: "2b", Addr: "10.0.0.2:50053", Answers: true, InView: true}
	c = condition.Voter{Name: "c", ID: "3c", Addr: "10.0.0.3:50053", Answers: true, InView: true}
)

func dead(v condition.Voter) condition.Voter {
	v.Answers, v.InView = false, false
	return v
}

// well returns the facts of a healthy mesh.
func well() condition.Facts {
	return condition.Facts{
		Lease: 2 * time.Second, InView: true, Leased: true, Voters: []condition.Voter{a, b, c}, Owned: 341,
	}
}

// incidents has one example for each code, with the sentence after twelve seconds. The page of the
// code contains the same sentence.
var incidents = []struct {
	code   string
	change func(f *condition.Facts)
	want   string
}{
	{
		condition.NoQuorum,
		func(f *condition.Facts) { f.Voters, f.Leased = []condition.Voter{a, dead(c), dead(b)}, false },
		"no majority for 12s: 2 of 3 voters do not answer (b at 10.0.0.2:50053, c at 10.0.0.3:50053), and the mesh needs 2; " +
			"until then this node grants and renews no lock; start their nodes, and if their data directories are lost for good, " +
			"see sharelock serve --recover and docs/recovery.md",
	},
	{
		condition.VoterSilent,
		func(f *condition.Facts) { f.Voters[2] = dead(c) },
		"voter c at 10.0.0.3:50053 has not answered for 12s: 2 of 3 voters answer, one more loss stops the mesh; " +
			"start its node, or give up its seat with 'sharelock decommission c'",
	},
	{
		condition.CutOff,
		func(f *condition.Facts) { f.Leased = false },
		"this node has had no lease for 12s: 3 of 3 voters answer it, but no leader renews its lease, so it grants and renews no lock; " +
			"an election takes a few seconds, otherwise look at the log of the leader",
	},
	{
		condition.NotInMesh,
		func(f *condition.Facts) {
			*f = condition.Facts{Joining: "no member of the mesh is known yet", Seeds: []condition.Seed{{Addr: "10.0.0.3:7946", Why: "timeout"}}}
		},
		"this node has been in no mesh for 12s: waits for seed 10.0.0.3:7946",
	},
	{
		condition.SeedSilent,
		func(f *condition.Facts) {
			*f = condition.Facts{Seeds: []condition.Seed{{Addr: "10.0.0.3:7946", Why: "connection refused: is the node up, and is this its gossip port?"}}}
		},
		"seed 10.0.0.3:7946 has not answered for 12s: connection refused: is the node up, and is this its gossip port?",
	},
	{
		condition.Quarantine,
		func(f *condition.Facts) { f.Quarantined, f.QuarantineLeft = 341, 54*time.Second },
		"quarantine for 12s: all copies of 341 of the 341 partitions of this node were lost; their keys are granted in 54s, " +
			"when every lock that may have existed has expired; there is nothing to do but wait",
	},
	{
		condition.CopiesMissing,
		func(f *condition.Facts) { f.Moving = 7 },
		"copies have been missing for 12s: 7 partitions of this node have not all their copies yet; do not stop another node before they have",
	},
	{
		condition.SeatWaits,
		func(f *condition.Facts) { f.Voters[2], f.Spare = dead(c), "d" },
		"a seat has been waiting for 12s: member d takes the seat of c at 10.0.0.3:50053 when it has caught up; stop no other node before that",
	},
	{
		condition.DiskFailed,
		func(f *condition.Facts) {
			f.DiskError = "/var/lib/sharelock: write /var/lib/sharelock/raft/raft.db: no space left on device"
		},
		"the data directory could not be written for 12s: /var/lib/sharelock: write /var/lib/sharelock/raft/raft.db: no space left on device; " +
			"this node does not vote until it can: is the disk full?",
	},
}

func TestSentences(t *testing.T) {
	if states := condition.Of(well()); len(states) != 0 {
		t.Errorf("a healthy mesh has %v", states)
	}
	var codes []string
	for _, tt := range incidents {
		f := well()
		tt.change(&f)
		states := condition.Of(f)
		i := slices.IndexFunc(states, func(s condition.State) bool { return s.Code == tt.code })
		if i < 0 {
			t.Errorf("%s: the states are %v", tt.code, states)
			continue
		}
		if got := states[i].Sentence(12 * time.Second); got != tt.want {
			t.Errorf("%s:\n%s\nwant\n%s", tt.code, got, tt.want)
		}
		page, err := os.ReadFile(filepath.Join("..", "..", "docs", "incidents", tt.code+".md"))
		if err != nil || !strings.Contains(strings.Join(strings.Fields(string(page)), " "), tt.want) {
			t.Errorf("docs/incidents/%s.md does not contain the sentence: %s (%v)", tt.code, tt.want, err)
		}
		codes = append(codes, tt.code)
	}
	if !slices.Equal(codes, condition.Codes()) {
		t.Errorf("there are examples of %v, want all of %v", codes, condition.Codes())
	}
}

// A voter without a name or an address is described by what is known of it.
func TestVoterNames(t *testing.T) {
	f := well()
	f.Voters = append(f.Voters, condition.Voter{ID: "4d"}, condition.Voter{ID: "5e", Answers: true})
	got := condition.Of(f)[0].Sentence(0)
	want := "voter with the id 4d has not answered: 4 of 5 voters answer, 1 more may fail; " +
		"start its node, or give up its seat with 'sharelock decommission 4d'"
	if got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}

// followed is a tracker with its log.
type followed struct {
	*condition.Tracker
	log   bytes.Buffer
	now   time.Duration
	begun []string
}

func follow() *followed {
	f := new(followed)
	f.Tracker = condition.NewTracker(slog.New(slog.NewTextHandler(&f.log, &slog.HandlerOptions{
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	})), func(code string) { f.begun = append(f.begun, code) })
	return f
}

// lasts updates the tracker every second for the given time.
func (f *followed) lasts(d time.Duration, facts condition.Facts) {
	for end := f.now + d; f.now < end; f.now += time.Second {
		f.Update(f.now, condition.Of(facts))
	}
}

func (f *followed) lines() int { return strings.Count(f.log.String(), "\n") }

// A healthy mesh logs nothing. A voter that dies causes one line, then reminders at growing
// intervals, and one line at the end.
func TestOneVoterDead(t *testing.T) {
	f := follow()
	f.lasts(time.Hour, well())
	if f.lines() != 0 || len(f.List(f.now)) != 0 || f.Worst() != "" {
		t.Fatalf("a healthy mesh: %q, %v", f.log.String(), f.List(f.now))
	}
	sick := well()
	sick.Voters[2] = dead(c)
	f.lasts(30*time.Second, sick)
	if f.lines() != 1 || !strings.Contains(f.log.String(), "level=WARN msg=\"voter c at 10.0.0.3:50053 has not answered for 1s") {
		t.Errorf("after 30 s the log is %q", f.log.String())
	}
	f.lasts(time.Hour-30*time.Second, sick)
	if n := f.lines(); n < 5 || n > 10 {
		t.Errorf("%d lines in an hour, want 5 to 10: at first each minute, then each ten", n)
	}
	list := f.List(f.now)
	if len(list) != 1 || list[0].Code != condition.VoterSilent || list[0].Subject != "3c" || list[0].Lasting != time.Hour || list[0].Severe {
		t.Errorf("the list is %+v", list)
	}
	before := f.lines()
	f.lasts(time.Hour, well())
	if f.lines() != before+1 || !strings.Contains(f.log.String(), "voter c at 10.0.0.3:50053 answers again, or its seat is taken\" condition=voter-silent lasted=1h0m0s") {
		t.Errorf("at the end: %q", f.log.String())
	}
}

// A second voter dies: one ERROR names both, and no line says that the state of the first one is
// over.
func TestQuorumLost(t *testing.T) {
	f := follow()
	sick := well()
	sick.Voters[2] = dead(c)
	f.lasts(10*time.Second, sick)
	lost := well()
	lost.Voters, lost.Leased = []condition.Voter{a, dead(b), dead(c)}, false
	f.lasts(10*time.Second, lost)
	if f.lines() != 2 || !strings.Contains(f.log.String(), "level=ERROR msg=\"no majority for 1s: 2 of 3 voters do not answer (b at") {
		t.Errorf("the log is %q", f.log.String())
	}
	if !slices.Equal(f.begun, []string{condition.VoterSilent, condition.NoQuorum}) {
		t.Errorf("%v have begun", f.begun)
	}
	if list := f.List(f.now); len(list) != 1 || !list[0].Severe || !strings.HasPrefix(f.Worst(), "no majority for ") {
		t.Errorf("the list is %+v, the worst %q", list, f.Worst())
	}
	f.lasts(10*time.Second, sick)
	if list := f.List(f.now); f.lines() != 3 || len(list) != 1 || list[0].Lasting != 30*time.Second {
		t.Errorf("after it: %+v, %q", list, f.log.String())
	}
}

// However much is wrong, there is at most one reminder a minute.
func TestReminders(t *testing.T) {
	f := follow()
	sick := well()
	sick.Voters = append(sick.Voters, dead(condition.Voter{ID: "4d"}), dead(condition.Voter{ID: "5e"}))
	sick.Moving, sick.Quarantined, sick.QuarantineLeft, sick.DiskError, sick.Spare = 5, 2, time.Hour, "full", "x"
	f.lasts(time.Minute, sick)
	first := f.lines()
	if first != 6 {
		t.Errorf("%d lines at first, want one for each of 6 states: %s", first, f.log.String())
	}
	f.lasts(time.Hour, sick)
	if n := f.lines() - first; n < 30 || n > 60 {
		t.Errorf("%d reminders in an hour, want at most one a minute", n)
	}
}

// A pause of the process, after which all other voters seem silent for a moment, is not reported.
func TestShortState(t *testing.T) {
	f := follow()
	f.lasts(10*time.Second, well())
	lost := well()
	lost.Voters = []condition.Voter{a, dead(b), dead(c)}
	f.Update(f.now, condition.Of(lost))
	if len(f.List(f.now)) != 0 {
		t.Errorf("it counts at once: %v", f.List(f.now))
	}
	f.now += 500 * time.Millisecond
	f.lasts(10*time.Second, well())
	if f.lines() != 0 {
		t.Errorf("the log is %q", f.log.String())
	}
}
