package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/sgkandale/sharelock/client"
	"github.com/sgkandale/sharelock/internal/cluster"
	"github.com/sgkandale/sharelock/mesh"
	"github.com/sgkandale/sharelock/mesh/metrics"
	sharelockv1 "github.com/sgkandale/sharelock/proto/sharelock/v1"
)

// exposition is what a node shows at /metrics: the value of each series, by its text.
type exposition map[string]float64

// scrape reads the metrics of a node.
func scrape(ctx context.Context, t *testing.T, c *cluster.Cluster, i int) (exposition, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+c.Addrs(i).HTTP+"/metrics", nil)
	must(t, err)
	web := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := web.Do(req)
	must(t, err)
	text, err := io.ReadAll(resp.Body)
	must(t, errors.Join(err, resp.Body.Close()))
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s", resp.Status, text)
	}
	series := exposition{}
	for line := range strings.Lines(string(text)) {
		name, number, ok := strings.Cut(strings.TrimSpace(line), " ")
		if strings.HasPrefix(line, "#") || !ok {
			continue
		}
		if series[name], err = strconv.ParseFloat(number, 64); err != nil {
			t.Errorf("line %q: %v", line, err)
		}
	}
	return series, string(text)
}

// total returns the sum of the series of a metric whose labels contain all the given texts.
func (e exposition) total(metric string, labels ...string) (sum float64) {
series:
	for name, v := range e {
		base, has, _ := strings.Cut(name, "{")
		if base != metric {
			continue
		}
		for _, l := range labels {
			if !strings.Contains(has, l) {
				continue series
			}
		}
		sum += v
	}
	return sum
}

// Three nodes count what their clients do. All metrics of the table are shown, and none of them
// contains anything that a client has chosen, such as a key or an id.
func TestMetricsOfAMesh(t *testing.T) {
	const mark = "zebra"
	c := cluster.Start(t, cluster.Options{Without: []cluster.Invariant{cluster.Linearizable}})
	ctx := limited(t)
	var kept []*client.Lock
	for i := range c.Len() {
		cl, err := c.Dial(ctx, client.Options{ClientID: mark + "-client"}, i)
		must(t, err)
		for k := range 20 {
			l, err := cl.Acquire(ctx, fmt.Sprint(mark, "/", i, "/", k), client.Metadata(map[string]string{mark: mark}))
			must(t, err)
			if k == 0 {
				kept = append(kept, l)
				continue
			}
			must(t, l.Release(ctx))
		}
		callMarked(ctx, t, c, i, mark)
	}
	var all exposition = map[string]float64{}
	shown := ""
	for i := range c.Len() {
		series, text := scrape(ctx, t, c, i)
		shown += text
		for name, v := range series {
			all[name] += v
		}
	}
	if at := strings.Index(shown, mark); at >= 0 {
		t.Errorf("a metric has what a client has chosen: …%.200s", shown[max(0, at-100):])
	}
	for _, s := range metrics.Sections() {
		for _, f := range s.Families {
			// These have a series only when there is a reason, or a file.
			if !strings.Contains(shown, "# TYPE "+f.Name+" ") && !seldom[f.Name] {
				t.Errorf("no node shows %s", f.Name)
			}
		}
	}
	for _, want := range []struct {
		metric string
		labels []string
		value  float64
	}{
		{"sharelock_holds", nil, 3},
		{"sharelock_waiters", nil, 0},
		{"sharelock_members", nil, 9},
		{"sharelock_leader", nil, 1},
		{"sharelock_ready", nil, 3},
		{"sharelock_partitions", []string{`role="owner"`, `state="active"`}, float64(mesh.DefaultConfig().Partitions)},
		{"sharelock_partitions", []string{`role="backup"`, `state="active"`}, float64(mesh.DefaultConfig().Partitions)},
		{"sharelock_partition_copies_missing", nil, 0},
		{"sharelock_quarantined_partitions", nil, 0},
		{"sharelock_acquire_wait_seconds_count", []string{`result="granted"`}, 66},
		{"sharelock_acquire_wait_seconds_count", []string{`result="held"`}, 3},
		{"sharelock_hold_seconds_count", []string{`end="released"`}, 63},
		{"sharelock_lock_ends_total", []string{`reason="released"`}, 63},
		{"sharelock_calls_total", []string{`door="session"`, `method="acquire"`, `code="OK"`}, 60},
		{"sharelock_calls_total", []string{`door="grpc"`, `method="acquire"`, `code="OK"`}, 3},
		{"sharelock_calls_total", []string{`door="grpc"`, `method="acquire"`, `code="LOCK_HELD"`}, 3},
		{"sharelock_calls_total", []string{`door="http"`, `method="release"`}, 3},
		{"sharelock_call_duration_seconds_count", []string{`door="http"`, `method="acquire"`}, 3},
	} {
		if got := all.total(want.metric, want.labels...); got != want.value {
			t.Errorf("%s%v is %v, want %v", want.metric, want.labels, got, want.value)
		}
	}
	if n := all.total("sharelock_replication_seconds_count"); n == 0 {
		t.Error("no operation has reached a backup")
	}
	for _, l := range kept {
		must(t, l.Release(ctx))
	}
}

// seldom holds the metrics that a healthy mesh does not show.
var seldom = map[string]bool{
	"sharelock_link_rtt_seconds": true, "sharelock_complaints_total": true, "sharelock_auth_failures_total": true,
	"sharelock_tls_certificate_expiry_timestamp_seconds": true, "sharelock_reloads_total": true,
}

// callMarked makes calls over gRPC and HTTP whose key and ids contain the mark.
func callMarked(ctx context.Context, t *testing.T, c *cluster.Cluster, i int, mark string) {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+c.Addrs(i).GRPC, grpc.WithTransportCredentials(insecure.NewCredentials()))
	must(t, err)
	defer conn.Close() //nolint:errcheck // nothing depends on it
	locks := sharelockv1.NewLockServiceClient(conn)
	key := fmt.Sprint(mark, "/grpc/", i)
	granted, err := locks.Acquire(ctx, &sharelockv1.AcquireRequest{Key: key, ClientId: mark, RequestId: mark})
	must(t, err)
	_, err = locks.Acquire(ctx, &sharelockv1.AcquireRequest{Key: key, ClientId: mark, RequestId: mark + "2", Wait: durationpb.New(0)})
	if err == nil {
		t.Error("a held lock was granted")
	}
	_, err = locks.Release(ctx, &sharelockv1.ReleaseRequest{Key: key, Token: granted.GetHold().GetToken()})
	must(t, err)

	web := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	ask := func(method, target, body string) string {
		req, err := http.NewRequestWithContext(ctx, method, "http://"+c.Addrs(i).HTTP+target, strings.NewReader(body))
		must(t, err)
		req.Header.Set("X-Client-Id", mark)
		resp, err := web.Do(req)
		must(t, err)
		data, err := io.ReadAll(resp.Body)
		must(t, errors.Join(err, resp.Body.Close()))
		if resp.StatusCode != http.StatusOK {
			t.Errorf("%s %s: %s", method, target, data)
		}
		return string(data)
	}
	path := fmt.Sprint("/v1/locks/", mark, "/http/", i)
	hold := ask(http.MethodPost, path, fmt.Sprintf(`{"requestId":%q,"metadata":{%q:%q}}`, mark, mark, mark))
	_, rest, _ := strings.Cut(hold, `"token":"`)
	token, _, _ := strings.Cut(rest, `"`)
	ask(http.MethodGet, path, "")
	ask(http.MethodDelete, path+"?token="+token, "")
}

// With metrics.enabled false there is no /metrics, and nothing is counted.
func TestMetricsOff(t *testing.T) {
	c := cluster.Start(t, cluster.Options{Nodes: 1, Configure: func(_ int, cfg *mesh.Config) { cfg.Metrics = false }})
	ctx := limited(t)
	l, err := c.Client(0).Acquire(ctx, "k", client.TTL(time.Second))
	must(t, err)
	must(t, l.Release(ctx))
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+c.Addrs(0).HTTP+"/metrics", nil)
	must(t, err)
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	must(t, err)
	must(t, resp.Body.Close())
	if resp.StatusCode != http.StatusNotFound {
		t.Errorf("%s, want 404", resp.Status)
	}
}

// Refusals of callers and reloads of the auth file are counted.
func TestMetricsOfAuth(t *testing.T) {
	file := filepath.Join(t.TempDir(), "auth.yaml")
	write := func(text string) { must(t, os.WriteFile(file, []byte(text), 0o600)) }
	const good = "anonymous: [reader]\npolicies:\n  reader: [{keys: [\"\"], verbs: [read]}]\n"
	write(good)
	c := cluster.Start(t, cluster.Options{
		Nodes: 1, Without: []cluster.Invariant{cluster.Linearizable},
		Configure: func(_ int, cfg *mesh.Config) { cfg.Auth = mesh.Auth{File: file} },
	})
	ctx := limited(t)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+c.Addrs(0).HTTP+"/v1/mesh", nil)
	must(t, err)
	req.Header.Set("Authorization", "Bearer slk_nobody")
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	must(t, err)
	must(t, resp.Body.Close())
	if resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("%s, want 401", resp.Status)
	}
	write("policies: [")
	if c.Node(0).Reload() == nil {
		t.Error("a file that is no YAML is taken")
	}
	write(good + "  # more\n")
	must(t, c.Node(0).Reload())
	series, _ := scrape(ctx, t, c, 0)
	for _, want := range []struct {
		metric string
		labels []string
	}{
		{"sharelock_auth_failures_total", nil},
		{"sharelock_reloads_total", []string{`what="auth"`, `result="failed"`}},
		{"sharelock_reloads_total", []string{`what="auth"`, `result="ok"`}},
		{"sharelock_calls_total", []string{`method="get_mesh"`, `code="UNAUTHENTICATED"`}},
	} {
		if got := series.total(want.metric, want.labels...); got != 1 {
			t.Errorf("%s%v is %v, want 1", want.metric, want.labels, got)
		}
	}
}
