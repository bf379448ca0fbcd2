package owner

import (
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/release"
	"github.com/sgkandale/sharelock/internal/rules"
	"github.com/sgkandale/sharelock/internal/trace"
	"github.com/sgkandale/sharelock/owner/machine"
)

// The bounds of what is kept of traces.
const (
	// mostTraced is how many traced requests of a shard may be unanswered. More are served without a
	// span.
	mostTraced = 1024
	// MaxEntryTraces is how many spans of requests go with the entries that they have caused.
	MaxEntryTraces = 64
)

// traces are the spans of the requests that a shard has not answered yet. They belong to the shard's
// turn. A shard that does not trace has none of it.
type traces struct {
	tracer *trace.Tracer
	open   map[Ref]*traced
	// looked is when it was last looked for requests that nobody waits for.
	looked time.Duration
	// current is the request that is being handled; nil for what happens by itself, and while the
	// request is not traced.
	current *traced
}

// traced is a request that was not answered yet.
type traced struct {
	span *trace.Span
	kind Kind
	key  string
	// until is when the request was silent for so long that nobody waits for it any more (Q5).
	until time.Duration
}

// newTraces returns the traces of a shard; nil without a tracer.
func newTraces(t *trace.Tracer) *traces {
	if t == nil {
		return nil
	}
	return &traces{tracer: t, open: map[Ref]*traced{}}
}

// begin begins the span of a request that is about to be handled, or finds it if the request was sent
// before.
func (t *traces) begin(now time.Duration, p *partition, epoch uint32, from Ref, r *Request) {
	if r.Trace == nil {
		return
	}
	q := t.open[from]
	if q != nil {
		q.span.Sent()
	} else if t.room(now) {
		if span := t.tracer.Own(r.Kind.String(), r.Key, r.Trace, p.id, epoch); span != nil {
			q = &traced{span: span, kind: r.Kind, key: r.Key}
			t.open[from] = q
		}
	}
	if q == nil {
		return
	}
	// One period more than after which a waiter is given up.
	q.until = now + 4*rules.Period(max(r.TTL, time.Second))
	t.current = q
}

// room reports whether one more request may be traced. If not, it looks at most once per second
// whether some of the others are over.
func (t *traces) room(now time.Duration) bool {
	if len(t.open) < mostTraced {
		return true
	}
	if now-t.looked < time.Second {
		return false
	}
	t.looked = now
	for ref, q := range t.open {
		if q.until < now || !ref.Alive() {
			q.span.End(nil)
			delete(t.open, ref)
		}
	}
	return len(t.open) < mostTraced
}

// decided notes what the machine has decided. The spans of the ops go to the backups with them.
func (t *traces) decided(p *partition, viewRelease uint32, out *machine.Out) {
	by := t.current
	t.current = nil
	if by != nil && len(out.Ops) > 0 && viewRelease >= release.Traces && len(p.log.backups) > 0 && len(p.log.traces) < MaxEntryTraces {
		p.log.traces = append(p.log.traces, *by.span.Parent())
	}
	for i := range out.Replies {
		reply := &out.Replies[i]
		q := t.open[reply.Ref]
		switch {
		case q == nil:
		case reply.Outcome == Queued:
			q.span.Queued(reply.Position)
		case q.kind != Acquire || reply.Outcome != Done || len(reply.Holds) == 0:
		case by != nil && by != q && by.key == q.key:
			q.span.Granted(reply.Holds[0].Token, by.span.Parent())
		default:
			q.span.Granted(reply.Holds[0].Token, nil)
		}
	}
}

// answered ends the span of a request whose answer leaves.
func (t *traces) answered(ref Ref, a *Answer) {
	if a.Outcome == Queued {
		return
	}
	if q := t.open[ref]; q != nil {
		q.span.End(a.Err)
		delete(t.open, ref)
	}
}

// drop ends all spans, because all requests must be sent again.
func (t *traces) drop() {
	if t == nil {
		return
	}
	for _, q := range t.open {
		q.span.End(nil)
	}
	clear(t.open)
	t.current = nil
}

// backUp begins the spans of entries that are about to be applied to a copy.
func (t *traces) backUp(epoch uint32, e *Entries) (spans []*trace.Span) {
	if t == nil {
		return nil
	}
	for i := range e.Traces {
		spans = append(spans, t.tracer.BackUp(&e.Traces[i], e.Partition, epoch, e.First))
	}
	return spans
}

// errNotFollowed ends the span of entries that were not applied: they are of another epoch, or do not
// fit the copy.
var errNotFollowed = &sharelock.Error{Err: sharelock.ErrNotReady}

// backedUp ends spans of backUp.
func backedUp(spans []*trace.Span, followed bool) {
	for _, s := range spans {
		if followed {
			s.End(nil)
		} else {
			s.End(errNotFollowed)
		}
	}
}
