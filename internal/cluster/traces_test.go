package cluster_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/sgkandale/sharelock/client"
	"github.com/sgkandale/sharelock/internal/cluster"
	"github.com/sgkandale/sharelock/internal/virtual"
	"github.com/sgkandale/sharelock/mesh"
)

// recorder keeps the spans of one node or client.
type recorder struct {
	*tracetest.InMemoryExporter
	provider *sdktrace.TracerProvider
}

func newRecorder(t *testing.T) recorder {
	t.Helper()
	r := recorder{InMemoryExporter: tracetest.NewInMemoryExporter()}
	r.provider = sdktrace.NewTracerProvider(sdktrace.WithSyncer(r), sdktrace.WithSampler(sdktrace.AlwaysSample()))
	t.Cleanup(func() { must(t, r.provider.Shutdown(context.Background())) })
	return r
}

// only returns the span with a name below a parent; "" is any name.
func (r recorder) only(t *testing.T, name string, parent tracetest.SpanStub) tracetest.SpanStub {
	t.Helper()
	var found []tracetest.SpanStub
	for _, s := range r.GetSpans() {
		if s.Name == name && s.SpanContext.TraceID() == parent.SpanContext.TraceID() && s.Parent.SpanID() == parent.SpanContext.SpanID() {
			found = append(found, s)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d spans %q below %q, want 1; all are\n%v", len(found), name, parent.Name, r.GetSpans())
	}
	return found[0]
}

// attributeOf returns the text of an attribute, or "".
func attributeOf(list []attribute.KeyValue, key string) string {
	for _, a := range list {
		if string(a.Key) == key {
			return a.Value.String()
		}
	}
	return ""
}

func eventsOf(s tracetest.SpanStub) (names []string) {
	for _, e := range s.Events {
		names = append(names, e.Name)
	}
	return names
}

// One trace covers a session, the node that takes the call, the owner, and both backups. The grant of a
// waiter links to the release that made it possible.
func TestSimTraces(t *testing.T) { virtual.Test(t, traces) }

func traces(t *testing.T) {
	nodes := []recorder{newRecorder(t), newRecorder(t), newRecorder(t)}
	c := cluster.Start(t, cluster.Options{
		Net: cluster.Memory, Without: []cluster.Invariant{cluster.Linearizable},
		Configure: func(i int, cfg *mesh.Config) {
			cfg.Replicas, cfg.TracerProvider, cfg.TraceKeys = 3, nodes[i].provider, i == 0
		},
	})
	ctx := patient(t)
	key := keyOwnedBy(t, c, 0)
	spans := newRecorder(t)
	cl, err := c.Dial(ctx, client.Options{ClientID: "w", OnlyAddrs: true, TracerProvider: spans.provider}, 1)
	must(t, err)

	// When a link opens, unacknowledged ops are sent again, without traces.
	warm, err := c.Client(1).Acquire(ctx, key)
	must(t, err)
	must(t, warm.Release(ctx))

	first, err := cl.Acquire(ctx, key)
	must(t, err)
	acquired := make(chan *client.Lock, 1)
	queued := make(chan int, 8)
	go func() {
		l, err := cl.Acquire(ctx, key, client.OnQueued(func(position int) { queued <- position }))
		if err != nil {
			t.Error(err)
		}
		acquired <- l
	}()
	if position := <-queued; position != 1 {
		t.Fatalf("queued at position %d", position)
	}
	must(t, first.Release(ctx))
	second := <-acquired
	if second == nil {
		t.FailNow()
	}

	// The spans of the client, in the order of their ends: the release and the second acquire are
	// answered at the same time.
	var roots []tracetest.SpanStub
	for _, name := range []string{"acquire", "release"} {
		for _, s := range spans.GetSpans() {
			if s.Name == name && !s.Parent.IsValid() {
				roots = append(roots, s)
			}
		}
	}
	if len(roots) != 3 || roots[1].Name != "acquire" || roots[2].Name != "release" {
		t.Fatalf("the spans of the client are %v", roots)
	}
	owned := map[string]tracetest.SpanStub{}
	for i, root := range roots {
		entry := nodes[1].only(t, root.Name, root)
		own := nodes[0].only(t, "own "+root.Name, entry)
		for _, backup := range nodes[1:] {
			if i != 1 { // the waiter's entries say that it waits, which its own trace also has
				backup.only(t, "back up", own)
			}
		}
		if attributeOf(own.Attributes, "sharelock.key") != key || attributeOf(entry.Attributes, "sharelock.key") != "" {
			t.Errorf("keys are not where tracing.keys says: %v, %v", own.Attributes, entry.Attributes)
		}
		if attributeOf(own.Attributes, "sharelock.partition") == "" || attributeOf(own.Attributes, "sharelock.epoch") != fmt.Sprint(second.Token().Epoch()) {
			t.Errorf("the owner's attributes are %v", own.Attributes)
		}
		owned[fmt.Sprint(i, root.Name)] = own
	}
	if got := eventsOf(owned["0acquire"]); !slices.Equal(got, []string{"granted"}) {
		t.Errorf("the events of a grant at once are %q", got)
	}
	waited := owned["1acquire"]
	events := eventsOf(waited)
	if events[0] != "queued" || events[len(events)-1] != "granted" || attributeOf(waited.Events[0].Attributes, "sharelock.position") != "1" ||
		attributeOf(waited.Events[len(events)-1].Attributes, "sharelock.token") != fmt.Sprint(uint64(second.Token())) {
		t.Errorf("the events of a waiter are %q: %v", events, waited.Events)
	}
	release := owned["2release"].SpanContext
	if len(waited.Links) != 1 || waited.Links[0].SpanContext.SpanID() != release.SpanID() || waited.Links[0].SpanContext.TraceID() != release.TraceID() {
		t.Errorf("the grant links to %v, want to %v", waited.Links, release)
	}
	must(t, second.Release(ctx))
}

// A caller over HTTP says to which trace its call belongs, and whether that is sampled. Otherwise a
// node begins a trace.
func TestTracesOverHTTP(t *testing.T) {
	node := newRecorder(t)
	c := cluster.Start(t, cluster.Options{
		Nodes: 1, Without: []cluster.Invariant{cluster.Linearizable},
		Configure: func(_ int, cfg *mesh.Config) { cfg.TracerProvider = node.provider },
	})
	ctx := limited(t)
	const id = "4bf92f3577b34da6a3ce929d0e0e4736"
	for i, want := range []struct {
		header string
		traced bool
		id     string
	}{
		{"00-" + id + "-00f067aa0ba902b7-01", true, id},
		{"", true, ""},
		{"nonsense", true, ""},
	} {
		node.Reset()
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, fmt.Sprintf("http://%s/v1/locks/k%d", c.Addrs(0).HTTP, i), strings.NewReader(`{"clientId":"w"}`))
		must(t, err)
		if want.header != "" {
			req.Header.Set("traceparent", want.header)
		}
		resp, err := http.DefaultClient.Do(req)
		must(t, err)
		must(t, resp.Body.Close())
		if resp.StatusCode != http.StatusOK {
			t.Fatal(resp.Status)
		}
		var at []string
		for _, s := range node.GetSpans() {
			if s.Name == "acquire" {
				at = append(at, s.SpanContext.TraceID().String())
			}
		}
		if len(at) != 1 || want.id != "" && at[0] != want.id || want.id == "" && at[0] == id {
			t.Errorf("with traceparent %q the traces are %q", want.header, at)
		}
	}
	http.DefaultClient.CloseIdleConnections()
}

// A collector that does not read delays no lock.
func TestDeadCollectorHoldsUpNobody(t *testing.T) {
	stuck := make(chan struct{})
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(stuckExporter{stuck}, sdktrace.WithMaxQueueSize(8), sdktrace.WithMaxExportBatchSize(1)))
	t.Cleanup(func() { must(t, provider.Shutdown(context.Background())) })
	t.Cleanup(func() { close(stuck) })
	c := cluster.Start(t, cluster.Options{
		Without:   []cluster.Invariant{cluster.Linearizable},
		Configure: func(_ int, cfg *mesh.Config) { cfg.TracerProvider = provider },
	})
	ctx := limited(t)
	for i := range 200 {
		l, err := c.Client(i%3).Acquire(ctx, "k", client.TTL(time.Second))
		must(t, err)
		must(t, l.Release(ctx))
	}
}

// stuckExporter exports nothing until it is closed.
type stuckExporter struct{ until chan struct{} }

func (e stuckExporter) ExportSpans(context.Context, []sdktrace.ReadOnlySpan) error {
	<-e.until
	return nil
}

func (stuckExporter) Shutdown(context.Context) error { return nil }
