package trace_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/trace"
	"github.com/sgkandale/sharelock/internal/tracecontext"
)

// Without tracing, nothing is allocated.
func TestOff(t *testing.T) {
	tracer := trace.New(nil, true)
	if tracer != nil {
		t.Fatal("there is a tracer without a provider")
	}
	ctx, err := context.Background(), errors.New("failed")
	allocs := testing.AllocsPerRun(100, func() {
		for _, s := range []*trace.Span{tracer.Call(ctx, "acquire"), tracer.Serve("acquire", "k", nil)} {
			s.Queued(1)
			s.Granted(1, nil)
			s.Sent()
			s.End(err)
			if s.Parent() != nil {
				t.Error("nothing is a parent")
			}
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
}

// If the caller does not sample its trace, this node does not either, and a span that is not sampled is nil.
func TestSampling(t *testing.T) {
	kept := tracetest.NewInMemoryExporter()
	tracer := trace.New(sdktrace.NewTracerProvider(sdktrace.WithSyncer(kept)), false)
	parent := tracecontext.Parent{Trace: [16]byte{1}, Span: [8]byte{2}}
	if s := tracer.Serve("acquire", "k", &parent); s != nil {
		t.Errorf("the span %v is made", s.Parent())
	}
	parent.Flags = tracecontext.Sampled
	s := tracer.Serve("acquire", "k", &parent)
	if p := s.Parent(); p == nil || p.Trace != parent.Trace || p.Span == parent.Span || p.Flags != tracecontext.Sampled {
		t.Errorf("the span is %v, below %v", p, parent)
	}
	s.End(nil)
	if n := len(kept.GetSpans()); n != 1 {
		t.Errorf("%d spans", n)
	}
}

// Spans say why a request failed, without the names in the error.
func TestErrors(t *testing.T) {
	for _, c := range []struct {
		err    error
		why    string
		status codes.Code
	}{
		{nil, "", codes.Unset},
		{&sharelock.Error{Err: sharelock.ErrQuota, Message: "alice has too many"}, "quota exceeded", codes.Error},
		{fmt.Errorf("acquire %q: %w", "alice", &sharelock.Error{Err: sharelock.ErrLockHeld, Message: "bob"}), "lock is held", codes.Unset},
		{context.Canceled, "context canceled", codes.Unset},
		{context.DeadlineExceeded, "context deadline exceeded", codes.Error},
		{errors.New("alice"), "failed", codes.Error},
	} {
		kept := tracetest.NewInMemoryExporter()
		trace.New(sdktrace.NewTracerProvider(sdktrace.WithSyncer(kept)), false).Serve("acquire", "k", nil).End(c.err)
		s := kept.GetSpans()[0]
		why := ""
		for _, a := range s.Attributes {
			why = a.Value.String()
		}
		if why != c.why || s.Status.Code != c.status || s.Status.Code == codes.Error && s.Status.Description != c.why {
			t.Errorf("%v: %q, %+v", c.err, why, s.Status)
		}
	}
}
