package owner

import (
	"testing"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/rules"
	"github.com/sgkandale/sharelock/internal/trace"
	"github.com/sgkandale/sharelock/internal/tracecontext"
	"github.com/sgkandale/sharelock/owner/machine"
)

// mortal is a caller that may be gone.
type mortal struct{ gone bool }

func (*mortal) Answer(uint64, Answer) {}
func (m *mortal) Alive() bool         { return !m.gone }

// Requests that are never answered, because their callers are gone or have sent them again in
// another way, do not pile up.
func TestTracesAreBounded(t *testing.T) {
	kept := tracetest.NewInMemoryExporter()
	tr := newTraces(trace.New(sdktrace.NewTracerProvider(sdktrace.WithSyncer(kept)), false))
	p, caller, ttl := &partition{}, &mortal{}, 10*time.Second
	send := func(now time.Duration, id uint64) {
		tr.begin(now, p, 1, Ref{Caller: caller, ID: id}, &Request{
			Kind: Acquire, Key: "k", TTL: ttl, Trace: &tracecontext.Parent{Flags: tracecontext.Sampled, Trace: [16]byte{1}, Span: [8]byte{2}},
		})
		tr.decided(p, 0, &machine.Out{})
	}
	now := 2 * time.Second
	for id := range uint64(2 * mostTraced) {
		send(now, id)
	}
	if len(tr.open) != mostTraced {
		t.Fatalf("%d requests are traced, want %d", len(tr.open), mostTraced)
	}
	// Those that were sent again in time stay.
	now += 4 * rules.Period(ttl)
	send(now, 0)
	send(now+time.Second+1, 2*mostTraced)
	if len(tr.open) != 2 {
		t.Errorf("%d requests are traced after the others were silent, want 2", len(tr.open))
	}
	for id := range uint64(mostTraced) {
		send(now, id)
	}
	caller.gone = true
	caller = &mortal{}
	send(now+3*time.Second, 1)
	if len(tr.open) != 1 {
		t.Errorf("%d requests are traced after their caller has gone, want 1", len(tr.open))
	}
	tr.drop()
	if spans := len(kept.GetSpans()); spans != 2*mostTraced || len(tr.open) != 0 {
		t.Errorf("%d spans have ended, and %d have not", spans, len(tr.open))
	}
}

// Each answer but Queued ends the span of its request. Requests without a trace have none.
func TestTracesEndWithAnswers(t *testing.T) {
	kept := tracetest.NewInMemoryExporter()
	tr := newTraces(trace.New(sdktrace.NewTracerProvider(sdktrace.WithSyncer(kept)), false))
	parent := &tracecontext.Parent{Flags: tracecontext.Sampled, Trace: [16]byte{1}, Span: [8]byte{2}}
	for _, a := range []Answer{{Outcome: Done}, {Outcome: Retry}, {Outcome: Failed, Err: &sharelock.Error{Err: sharelock.ErrQuota}}} {
		kept.Reset()
		ref := Ref{Caller: &mortal{}, ID: 1}
		tr.begin(0, &partition{}, 1, ref, &Request{Kind: Get, Key: "k", Trace: parent})
		tr.decided(&partition{}, 0, &machine.Out{Replies: []machine.Reply{{Ref: ref, Answer: a}}})
		tr.answered(ref, &Answer{Outcome: Queued})
		if n := len(kept.GetSpans()); n != 0 {
			t.Errorf("%d spans have ended while the request waits", n)
		}
		tr.answered(ref, &a)
		if n := len(kept.GetSpans()); n != 1 || len(tr.open) != 0 {
			t.Errorf("%d spans have ended with the answer %v", n, a.Outcome)
		}
	}
	tr.begin(0, &partition{}, 1, Ref{Caller: &mortal{}, ID: 1}, &Request{Kind: Get, Key: "k"})
	if len(tr.open) != 0 || tr.current != nil {
		t.Error("a request without a trace has a span")
	}
}
