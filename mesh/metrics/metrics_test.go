package metrics

import (
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/encoding/protodelim"
	"google.golang.org/protobuf/proto"

	"github.com/sgkandale/sharelock/internal/metrics"
	"github.com/sgkandale/sharelock/mesh/epoch"
	"github.com/sgkandale/sharelock/mesh/link"
	"github.com/sgkandale/sharelock/owner"
)

// everything is a source that has all there is.
func everything() Source {
	calls := metrics.NewCalls()
	calls.Method("http", "get").Record("OK", time.Second)
	calls.Method("http", "get").Record("NOT_HELD", 2*time.Second)
	totals := &owner.Totals{}
	for _, d := range []time.Duration{0, time.Millisecond, time.Millisecond, 1100 * time.Microsecond, time.Second} {
		totals.Wait[1][owner.WaitGranted].Observe(d)
	}
	totals.Hold[owner.EndForced].Observe(time.Hour)
	return Source{
		Owner: func() (owner.Stats, *owner.Totals, bool) {
			return owner.Stats{
				Owned: 10, Active: 8, Quarantined: 1, Backed: 5, Synced: 4, Holds: 6, Waiters: 2, LongestWait: 1500 * time.Millisecond,
			}, totals, true
		},
		Member: func() Member {
			return Member{Ready: true, LeaseRemaining: time.Second, Epoch: 7, Members: 2, Voters: 3, Copies: 3, Placed: 2}
		},
		Sessions: func() int { return 3 },
		Calls:    calls,
		Links: func() map[string]link.Stats {
			return map[string]link.Stats{"b": {RTT: time.Millisecond, Queued: 9}, "new": {}}
		},
		Complaints:   func() map[string]uint64 { return map[string]uint64{"b": 4} },
		ViewChanges:  func() map[string]uint64 { return map[string]uint64{epoch.ChangeJoined: 2} },
		WatchStreams: func() int { return 11 },
		WatchResets:  func() uint64 { return 12 },
		AuthFailures: func() map[string]uint64 { return map[string]uint64{"denied": 13} },
		AuditDropped: func() uint64 { return 14 },
		Certificates: func() map[string]time.Time { return map[string]time.Time{"node": time.Unix(15, 0)} },
		Reloads:      func() map[Reload]uint64 { return map[Reload]uint64{{"tls", true}: 16, {"auth", false}: 17} },
	}
}

// gathered returns what a source shows, by name.
func gathered(t *testing.T, s Source) map[string]*dto.MetricFamily {
	t.Helper()
	r, err := registry(s)
	if err != nil {
		t.Fatal(err)
	}
	problems, err := testutil.GatherAndLint(r)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	list, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	byName := map[string]*dto.MetricFamily{}
	for _, f := range list {
		byName[f.GetName()] = f
	}
	return byName
}

// A node shows the metrics of the table and no others of its own, with the table's labels.
func TestFamilies(t *testing.T) {
	shown := gathered(t, everything())
	table := map[string]bool{}
	for _, section := range Sections() {
		for _, want := range section.Families {
			table[want.Name] = true
			got := shown[want.Name]
			if got == nil {
				t.Errorf("%s is not shown", want.Name)
				continue
			}
			if kind := strings.ToLower(got.GetType().String()); kind != string(want.Kind) || got.GetHelp() != want.Help {
				t.Errorf("%s is a %s: %s", want.Name, kind, got.GetHelp())
			}
			var labels []string
			for _, l := range want.Labels {
				labels = append(labels, l.Name)
			}
			slices.Sort(labels)
			for _, m := range got.GetMetric() {
				var has []string
				for _, l := range m.GetLabel() {
					has = append(has, l.GetName())
				}
				if !slices.Equal(has, labels) {
					t.Errorf("%s has the labels %q, want %q", want.Name, has, labels)
				}
			}
		}
	}
	for name := range shown {
		if strings.HasPrefix(name, "sharelock_") && !table[name] {
			t.Errorf("%s is not in the table", name)
		}
	}
	for _, name := range []string{"go_goroutines", "process_resident_memory_bytes"} {
		if shown[name] == nil {
			t.Errorf("%s is not shown", name)
		}
	}
}

// The numbers of the source are shown as they are.
func TestValues(t *testing.T) {
	const want = `
# HELP sharelock_auth_failures_total Calls and connections that were refused because of who made them.
# TYPE sharelock_auth_failures_total counter
sharelock_auth_failures_total{why="denied"} 13
# HELP sharelock_calls_total Calls that this node has answered.
# TYPE sharelock_calls_total counter
sharelock_calls_total{code="NOT_HELD",door="http",method="get"} 1
sharelock_calls_total{code="OK",door="http",method="get"} 1
# HELP sharelock_complaints_total How often this member has begun to complain of another, for which it waits without progress.
# TYPE sharelock_complaints_total counter
sharelock_complaints_total{peer="b"} 4
# HELP sharelock_link_queue_bytes About how many bytes wait to be sent to a member.
# TYPE sharelock_link_queue_bytes gauge
sharelock_link_queue_bytes{peer="b"} 9
sharelock_link_queue_bytes{peer="new"} 0
# HELP sharelock_link_rtt_seconds How long the last ping to a member took.
# TYPE sharelock_link_rtt_seconds gauge
sharelock_link_rtt_seconds{peer="b"} 0.001
# HELP sharelock_lock_ends_total Holds that ended at this member, by what ended them.
# TYPE sharelock_lock_ends_total counter
sharelock_lock_ends_total{reason="cancelled"} 0
sharelock_lock_ends_total{reason="expired"} 0
sharelock_lock_ends_total{reason="forced"} 1
sharelock_lock_ends_total{reason="released"} 0
# HELP sharelock_oldest_waiter_seconds How long the oldest waiter of all keys that this member owns has waited since it came to this owner; 0 if nobody waits.
# TYPE sharelock_oldest_waiter_seconds gauge
sharelock_oldest_waiter_seconds 1.5
# HELP sharelock_partition_copies_missing Copies that should exist of the partitions that this member owns, and do not, or not yet.
# TYPE sharelock_partition_copies_missing gauge
sharelock_partition_copies_missing 12
# HELP sharelock_partitions Partitions of this member.
# TYPE sharelock_partitions gauge
sharelock_partitions{role="backup",state="activating"} 1
sharelock_partitions{role="backup",state="active"} 4
sharelock_partitions{role="owner",state="activating"} 2
sharelock_partitions{role="owner",state="active"} 7
sharelock_partitions{role="owner",state="quarantined"} 1
# HELP sharelock_reloads_total Reloads of files that have changed.
# TYPE sharelock_reloads_total counter
sharelock_reloads_total{result="failed",what="auth"} 17
sharelock_reloads_total{result="ok",what="tls"} 16
`
	r, err := registry(everything())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for line := range strings.Lines(want) {
		if words := strings.Fields(line); len(words) > 2 && words[1] == "TYPE" {
			names = append(names, words[2])
		}
	}
	if err := testutil.GatherAndCompare(r, strings.NewReader(want), names...); err != nil {
		t.Error(err)
	}
	for name, want := range map[string]float64{
		"sharelock_holds": 6, "sharelock_waiters": 2, "sharelock_ready": 1, "sharelock_leader": 0, "sharelock_epoch": 7,
		"sharelock_members": 2, "sharelock_voters": 3, "sharelock_sessions": 3, "sharelock_watch_streams": 11,
		"sharelock_quarantined_partitions": 1, "sharelock_lease_remaining_seconds": 1,
		"sharelock_tls_certificate_expiry_timestamp_seconds": 15, "sharelock_build_info": 1,
	} {
		if got := gathered(t, everything())[name].GetMetric()[0].GetGauge().GetValue(); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
}

// A source without numbers shows zeros; holds and waiters are never absent.
func TestNothing(t *testing.T) {
	shown := gathered(t, Source{})
	for _, name := range []string{"sharelock_holds", "sharelock_waiters", "sharelock_ready", "sharelock_watch_resets_total", "sharelock_acquire_wait_seconds"} {
		if shown[name] == nil {
			t.Errorf("%s is not shown", name)
		}
	}
	if shown["sharelock_calls_total"] != nil || shown["sharelock_reloads_total"] != nil {
		t.Error("there are calls or reloads")
	}
}

// A request chooses between text, OpenMetrics and protobuf, which has native buckets, too.
func TestFormats(t *testing.T) {
	h, err := Handler(everything(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ask := func(accept string) *httptest.ResponseRecorder {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil)
		r.Header.Set("Accept", accept)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != http.StatusOK {
			t.Fatalf("status %d: %s", w.Code, w.Body)
		}
		return w
	}
	if w := ask(""); !strings.HasPrefix(w.Header().Get("Content-Type"), "text/plain") || !strings.Contains(w.Body.String(), "\nsharelock_holds 6\n") {
		t.Errorf("%s", w.Header().Get("Content-Type"))
	}
	if w := ask("application/openmetrics-text;version=1.0.0"); !strings.HasPrefix(w.Header().Get("Content-Type"), "application/openmetrics-text") ||
		!strings.HasSuffix(w.Body.String(), "# EOF\n") {
		t.Errorf("%s", w.Header().Get("Content-Type"))
	}
	w := ask("application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited")
	for {
		var f dto.MetricFamily
		if err := protodelim.UnmarshalFrom(w.Body, &f); err != nil {
			t.Fatalf("sharelock_acquire_wait_seconds is not there: %v", err)
		}
		if f.GetName() == acquireWait.Name {
			checkNative(t, &f)
			return
		}
	}
}

// All metrics can be written as text, too.
func TestWriteText(t *testing.T) {
	var b strings.Builder
	if err := WriteText(&b, everything()); err != nil || !strings.Contains(b.String(), "\nsharelock_holds 6\n") || !strings.Contains(b.String(), "\ngo_goroutines ") {
		t.Errorf("%v: %d bytes", err, b.Len())
	}
}

// checkNative checks that the native buckets of the shared grants have 0, 1 ms twice, 1.1 ms and 1 s.
func checkNative(t *testing.T, f *dto.MetricFamily) {
	t.Helper()
	for _, m := range f.GetMetric() {
		h := m.GetHistogram()
		if m.GetLabel()[0].GetValue() != "shared" || m.GetLabel()[1].GetValue() != "granted" {
			if h.GetSampleCount() != 0 || len(h.GetPositiveSpan()) != 1 {
				t.Errorf("%v: %v", m.GetLabel(), h)
			}
			continue
		}
		got, index, n := map[int32]int64{}, int32(0), int64(0)
		deltas := h.GetPositiveDelta()
		for _, span := range h.GetPositiveSpan() {
			index += span.GetOffset()
			for range span.GetLength() {
				n += deltas[0]
				deltas = deltas[1:]
				got[index] = n
				index++
			}
		}
		// Bucket i ends at 2^(i/8) seconds: 1 ms is in (2^-10, 2^-9.875], 1.1 ms in the next.
		want := map[int32]int64{-79: 2, -78: 1, 0: 1}
		if !maps.Equal(got, want) || h.GetZeroCount() != 1 || h.GetSampleCount() != 5 || len(deltas) != 0 {
			t.Errorf("native buckets %v, %d zeros, want %v", got, h.GetZeroCount(), want)
		}
		if n := h.GetBucket()[5]; !proto.Equal(n, &dto.Bucket{UpperBound: new(0.001), CumulativeCount: proto.Uint64(3)}) {
			t.Errorf("classic bucket %v", n)
		}
		return
	}
	t.Error("nothing was granted to a shared acquire")
}
