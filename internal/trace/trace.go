// Package trace creates the spans of requests with OpenTelemetry. Nodes and clients get a provider of
// spans in their configurations and use nothing else of the library. cmd/sharelock, or the program that
// uses a client, decides which exporter sends spans where.
//
// Nodes and clients that do not trace have a nil [*Tracer], and requests that are not traced a nil
// [*Span]. All methods of both do nothing then, but a caller on a hot path tests for nil first.
//
// The spans of a request are
//
//	acquire          of the client
//	  acquire        of the node that takes the call
//	    own acquire  of the owner, with an event when the request is queued and when it is decided
//	      back up    of each backup
//
// and the same with release, renew and so on. The owner's span of an acquire that had to wait links to
// the owner's span of the release that has ended its wait.
package trace

import (
	"context"
	"errors"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	oteltrace "go.opentelemetry.io/otel/trace"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/intconv"
	"github.com/sgkandale/sharelock/internal/tracecontext"
)

// scope names the origin of these spans.
const scope = "github.com/sgkandale/sharelock"

// Attributes of spans and events.
const (
	keyOfLock   = "sharelock.key"
	keyPart     = "sharelock.partition"
	keyEpoch    = "sharelock.epoch"
	keyToken    = "sharelock.token"
	keyPosition = "sharelock.position"
	keyFirst    = "sharelock.log.first"
	keyWhy      = "error.type"
)

// A Tracer begins spans. A nil Tracer begins none. Safe for concurrent use.
type Tracer struct {
	tracer oteltrace.Tracer
	// keys is set if spans have the keys of locks.
	keys bool
}

// New returns a tracer whose spans go to a provider; nil if that is nil. keys says whether the spans
// have the keys of locks, which may be personal data.
func New(provider oteltrace.TracerProvider, keys bool) *Tracer {
	if provider == nil {
		return nil
	}
	return &Tracer{tracer: provider.Tracer(scope), keys: keys}
}

// Call begins the span of a client's call, below the span of ctx if there is one. The span is nil if
// it is not recorded.
func (t *Tracer) Call(ctx context.Context, name string) *Span {
	if t == nil {
		return nil
	}
	return t.begin(ctx, name, oteltrace.SpanKindClient)
}

// Serve begins the span of a request about a key at the node that takes it. Without a parent it is
// the root of a new trace. The span is nil if it is not recorded.
func (t *Tracer) Serve(name, key string, parent *tracecontext.Parent) *Span {
	if t == nil {
		return nil
	}
	return t.begin(below(parent), name, oteltrace.SpanKindServer, t.keyed(key)...)
}

// Own begins the span of a request at the owner of its partition.
func (t *Tracer) Own(name, key string, parent *tracecontext.Parent, partition, epoch uint32) *Span {
	return t.begin(below(parent), "own "+name, oteltrace.SpanKindInternal, append(t.keyed(key),
		attribute.Int64(keyPart, int64(partition)), attribute.Int64(keyEpoch, int64(epoch)))...)
}

// BackUp begins the span of ops that a backup applies: those of a partition from first on.
func (t *Tracer) BackUp(parent *tracecontext.Parent, partition, epoch uint32, first uint64) *Span {
	return t.begin(below(parent), "back up", oteltrace.SpanKindInternal,
		attribute.Int64(keyPart, int64(partition)), attribute.Int64(keyEpoch, int64(epoch)), attribute.Int64(keyFirst, intconv.Signed(first)))
}

func (t *Tracer) begin(ctx context.Context, name string, kind oteltrace.SpanKind, attributes ...attribute.KeyValue) *Span {
	_, span := t.tracer.Start(ctx, name, oteltrace.WithSpanKind(kind), oteltrace.WithAttributes(attributes...))
	at := span.SpanContext()
	if !at.IsSampled() {
		span.End()
		return nil
	}
	return &Span{span: span, parent: tracecontext.Parent{Flags: byte(at.TraceFlags()), Trace: at.TraceID(), Span: at.SpanID()}}
}

// keyed returns the attribute with the key of a lock, if spans have it.
func (t *Tracer) keyed(key string) []attribute.KeyValue {
	if !t.keys {
		return nil
	}
	return []attribute.KeyValue{attribute.String(keyOfLock, key)}
}

// below returns a context for spans below a parent.
func below(parent *tracecontext.Parent) context.Context {
	if parent == nil {
		return context.Background()
	}
	return oteltrace.ContextWithRemoteSpanContext(context.Background(), spanContext(parent))
}

func spanContext(p *tracecontext.Parent) oteltrace.SpanContext {
	return oteltrace.NewSpanContext(oteltrace.SpanContextConfig{
		TraceID: p.Trace, SpanID: p.Span, TraceFlags: oteltrace.TraceFlags(p.Flags), Remote: true,
	})
}

// A Span is one step of a request that is traced. A nil Span is that of a request that is not.
type Span struct {
	span   oteltrace.Span
	parent tracecontext.Parent
}

// Parent returns the span as the parent of others, nil if there is no span.
func (s *Span) Parent() *tracecontext.Parent {
	if s == nil {
		return nil
	}
	return &s.parent
}

// Queued records that the request waits, and its place in the queue; 0 means unknown.
func (s *Span) Queued(position uint32) {
	if s == nil {
		return
	}
	s.span.AddEvent("queued", oteltrace.WithAttributes(attribute.Int64(keyPosition, int64(position))))
}

// Granted records the token of a grant. woken is the span of the release that has ended the wait, or
// nil if there was none or it is unknown.
func (s *Span) Granted(token sharelock.Token, woken *tracecontext.Parent) {
	if s == nil {
		return
	}
	at := oteltrace.WithAttributes(attribute.Int64(keyToken, intconv.Signed(uint64(token))))
	s.span.AddEvent("granted", at)
	if woken != nil {
		s.span.AddLink(oteltrace.Link{SpanContext: spanContext(woken)})
	}
}

// Sent records that the request was sent again.
func (s *Span) Sent() {
	if s == nil {
		return
	}
	s.span.AddEvent("sent again")
}

// End ends the span with the error of the request, or nil.
func (s *Span) End(err error) {
	if s == nil {
		return
	}
	if err != nil {
		s.span.SetAttributes(attribute.String(keyWhy, why(err)))
		if !errors.Is(err, sharelock.ErrLockHeld) && !errors.Is(err, context.Canceled) {
			s.span.SetStatus(codes.Error, why(err))
		}
	}
	s.span.End()
}

// why returns the text of an error without the names that may be in it.
func why(err error) string {
	var e *sharelock.Error
	switch {
	case errors.As(err, &e) && e.Err != nil:
		return e.Err.Error()
	case errors.Is(err, context.Canceled):
		return context.Canceled.Error()
	case errors.Is(err, context.DeadlineExceeded):
		return context.DeadlineExceeded.Error()
	default:
		return "failed"
	}
}

type contextKey struct{}

// With returns a context that carries the parent of a call's spans.
func With(ctx context.Context, p *tracecontext.Parent) context.Context {
	return context.WithValue(ctx, contextKey{}, p)
}

// From returns the parent that ctx carries, or nil.
func From(ctx context.Context) *tracecontext.Parent {
	p, _ := ctx.Value(contextKey{}).(*tracecontext.Parent)
	return p
}
