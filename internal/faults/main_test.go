package faults

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/sgkandale/sharelock/internal/linear"
)

// Settings from scripts/faults.
const (
	// modeEnv is full or short; without it the tests are skipped.
	modeEnv = "SHARELOCK_FAULTS"
	// binaryEnv is the path of sharelock.
	binaryEnv = "SHARELOCK_FAULTS_BINARY"
)

// sizes returns the sizes of the meshes. The short form uses only the first.
func sizes() []int { return []int{3, 5} }

// TestFaults applies faults to real processes.
func TestFaults(t *testing.T) {
	mode := os.Getenv(modeEnv)
	if mode == "" {
		t.Skip("a rehearsal with real processes in network namespaces: make faults")
	}
	w := newNetwork(t)
	var rows []row
	defer func() { t.Log("\n" + write(rows)) }()
	for _, size := range sizes() {
		t.Run(fmt.Sprintf("%d nodes", size), func(t *testing.T) {
			for _, f := range table() {
				if f.nodes != nil && !slices.Contains(f.nodes, size) || mode == "short" && (!f.short || size != sizes()[0]) {
					continue
				}
				t.Run(f.name, func(t *testing.T) {
					w.t = t
					r := row{fault: f, nodes: size}
					defer func() { // also after a fault that ended the test
						r.ended = !t.Failed()
						rows = append(rows, r)
					}()
					rehearse(t, w, &r)
				})
			}
		})
	}
	w.t = t
}

// row is the result of one fault.
type row struct {
	fault fault
	nodes int
	ended bool // without an error
	any   time.Duration
	worst time.Duration
	// the numbers of violations, and of calls.
	lost, double, outOfOrder, failed, asked int
}

// rehearse runs one fault under load and judges it.
func rehearse(t *testing.T, w *network, res *row) {
	f := res.fault
	begin := time.Now()
	r := newRig(t, w, res.nodes, f.setup)
	t.Logf("mesh of %d: whole after %v", res.nodes, time.Since(begin).Round(time.Millisecond))
	rec := &record{}
	held := newHolders(r, rec)
	queues := newQueues(r, rec, releases())
	load := newLoad(r, rec)
	// The waiters must end even if the fault does not.
	defer func() {
		load.giveUp()
		queues.giveUp()
	}()
	r.last(before)
	f.do(r)
	r.last(after)
	end := time.Now()
	load.end()
	held.end()
	out, which := queues.end()

	grants, calls, asked, failed, lost := rec.all()
	double, shrunk := doubles(grants)
	res.lost, res.double, res.outOfOrder, res.failed, res.asked = len(lost), len(double), out, len(failed), asked
	res.any, _ = gap(grants, r.began, end, isLoad)
	worst, from := "", time.Time{}
	for i := range loadKeys {
		if d, at := gap(grants, r.began, end, func(key string) bool { return key == loadKey(i) }); d > res.worst {
			res.worst, worst, from = d, loadKey(i), at
		}
	}
	t.Logf("%s was not granted for %v, from %v after the begin at %s", worst, res.worst, from.Sub(r.began), r.began.Format(clock))
	complain(t, "double grant", double)
	complain(t, "token did not grow", shrunk)
	if res.worst > f.limit {
		t.Errorf("%s was not granted for %v, the limit is %v", worst, res.worst, f.limit)
	}
	troubled := time.Time{} // never: no state may be lost
	if f.everything {
		troubled = r.began
		note(t, "lock lost", lost)
		note(t, "request failed", failed)
	} else {
		complain(t, "lock lost", lost)
		complain(t, "request failed", failed)
		complain(t, "waiters out of order", which)
	}
	if err := linear.Check(calls, troubled); err != nil {
		t.Error(err)
	}
}

// releases returns when the holders of the queues release their locks: during the recovery from a
// crash, and after it.
func releases() []time.Duration {
	return []time.Duration{50 * time.Millisecond, 1500 * time.Millisecond, 3 * time.Second, 6 * time.Second}
}

// mostShown is how many violations of one kind are shown.
const mostShown = 8

func complain(t *testing.T, what string, list []string) {
	t.Helper()
	note(t, what, list)
	if len(list) > 0 {
		t.Errorf("%s: %d", what, len(list))
	}
}

func note(t *testing.T, what string, list []string) {
	t.Helper()
	for _, s := range list[:min(len(list), mostShown)] {
		t.Logf("%s: %s", what, s)
	}
}

// write formats the table.
func write(rows []row) string {
	slices.SortStableFunc(rows, func(a, b row) int { return cmp.Compare(a.nodes, b.nodes) })
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\t\tno grant for\t\t\tlocks\tdouble\twaiters\trequests\t\t")                        //nolint:errcheck // to memory
	fmt.Fprintln(w, "fault\tnodes\tany key\tworst key\tlimit\tlost\tgrants\tout of order\tfailed\tof\t") //nolint:errcheck // to memory
	for _, r := range rows {
		result := ""
		if !r.ended {
			result = "FAILED"
		}
		fmt.Fprintf(w, "%s\t%d\t%.2f s\t%.2f s\t%.0f s\t%d\t%d\t%d\t%d\t%d\t%s\n", //nolint:errcheck // to memory
			r.fault.name, r.nodes, r.any.Seconds(), r.worst.Seconds(), r.fault.limit.Seconds(),
			r.lost, r.double, r.outOfOrder, r.failed, r.asked, result)
	}
	w.Flush() //nolint:errcheck // to memory
	return b.String()
}
