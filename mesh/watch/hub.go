package watch

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/event"
	"github.com/sgkandale/sharelock/internal/share"
	"github.com/sgkandale/sharelock/mesh/epoch"
	"github.com/sgkandale/sharelock/owner"
	"github.com/sgkandale/sharelock/ring"
)

// MinRelease is the lowest release of a view in which members can be watched by others (W1).
const MinRelease = 2

// DefaultMaxStreams is the maximum number of watches of a node unless Config says otherwise.
const DefaultMaxStreams = 20_000

// pingInterval is how often a watch sends a ping, to show that it is alive.
const pingInterval = 15 * time.Second

// Source is the stream of events of the partitions that a member owns. Only Take blocks.
type Source interface {
	Watch(t owner.Target)
	Unwatch(t owner.Target)
	// Read asks for the state of a target. Take returns the result among the news.
	Read(r owner.Read)
	// Take waits for news. An error ends the source.
	Take(ctx context.Context) ([]owner.News, error)
	Close()
}

// Config is what a [Hub] needs to know. All fields are required except MaxStreams.
type Config struct {
	Self  ring.Identity
	Views *epoch.Views
	// Open returns a source for another member.
	Open func(m ring.Member) Source
	// Ready returns why this node may not serve, or nil (Q4). AwaitStart blocks a caller until the
	// node has served for the first time since it started.
	Ready      func() error
	AwaitStart func(ctx context.Context)
	// Leaving is closed when callers have to go to other nodes.
	Leaving <-chan struct{}
	// MaxStreams is the maximum number of watches at a time. Host returns the host of a caller from
	// its context: hosts share these places. If Host is nil all callers count as one host.
	MaxStreams int
	Host       func(ctx context.Context) string
	// Spawn runs a goroutine, or returns false when this process stops.
	Spawn func(func()) bool
	// Context ends when this process stops.
	Context context.Context //nolint:containedctx // the lifetime of the process
}

// A Hub manages the watches of callers at this node. All methods are safe for concurrent use.
type Hub struct {
	cfg Config

	budget budget
	places *share.Places
	resets atomic.Uint64

	mu      sync.Mutex
	sources map[ring.Identity]*source // guarded by mu
}

// New returns a hub without watches. The caller has to call Run.
func New(cfg Config) *Hub {
	if cfg.MaxStreams == 0 {
		cfg.MaxStreams = DefaultMaxStreams
	}
	return &Hub{cfg: cfg, places: share.New(cfg.MaxStreams), sources: map[ring.Identity]*source{}}
}

// Run removes sources and keys that are no longer watched, until ctx ends.
func (h *Hub) Run(ctx context.Context) {
	tick := time.NewTicker(lingerTime / 2)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			h.sweep(time.Now())
		case <-ctx.Done():
			return
		}
	}
}

// Streams returns the number of watches.
func (h *Hub) Streams() int { return int(h.budget.streams.Load()) }

// Resets returns how often watches were reset.
func (h *Hub) Resets() uint64 { return h.resets.Load() }

// Watch implements api.Locker: it calls send with events, in this goroutine, until ctx ends or send
// fails. send must not change the events.
func (h *Hub) Watch(ctx context.Context, r sharelock.WatchRequest, send func([]*event.Event) error) error {
	if err := check(&r); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	host := ""
	if h.cfg.Host != nil {
		host = h.cfg.Host(ctx)
	}
	place, _, ok := h.places.Take(host, func() { cancel(errDisplaced) })
	if !ok {
		return &sharelock.Error{Err: sharelock.ErrQuota, Message: fmt.Sprintf("this node has %d watches, the maximum; use another node", h.cfg.MaxStreams)}
	}
	defer place.Leave()
	h.budget.streams.Add(1)
	defer h.budget.streams.Add(-1)
	h.cfg.AwaitStart(ctx)
	w := newWatcher(h, r)
	defer w.end()
	return w.run(ctx, send)
}

// errDisplaced ends a watch whose place a watch of another host takes.
var errDisplaced = &sharelock.Error{
	Err: sharelock.ErrQuota, Message: "this node has as many watches as it may, and this host has the most of them; use another node",
}

func check(r *sharelock.WatchRequest) error {
	switch {
	case r.Key != "" && r.Prefix != "":
		return sharelock.Invalid("prefix", "cannot be combined with a key")
	case r.Key != "":
		return sharelock.CheckKey(r.Key)
	case len(r.Prefix) > sharelock.MaxKeyBytes:
		return sharelock.Invalid("prefix", "is longer than any key")
	}
	return nil
}

// source returns the source of a member, and opens it if there is none.
func (h *Hub) source(v *epoch.View, m ring.Member) (*source, error) {
	if m.Identity != h.cfg.Self && !v.Supports(MinRelease) {
		return nil, &sharelock.Error{
			Err:     sharelock.ErrNotReady,
			Message: fmt.Sprintf("watching needs release %d of the mesh, which is at release %d: upgrade all nodes", MinRelease, v.Release),
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if s := h.sources[m.Identity]; s != nil {
		return s, nil
	}
	var from Source
	if m.Identity == h.cfg.Self {
		from = &local{Feed: v.Service.Feed(), hub: h}
	} else {
		from = h.cfg.Open(m)
	}
	s := newSource(h, m.Identity, from)
	if !h.cfg.Spawn(s.run) {
		from.Close()
		return nil, &sharelock.Error{Err: sharelock.ErrNotReady, Message: "the node stops"}
	}
	h.sources[m.Identity] = s
	return s, nil
}

// remove removes a source that has ended.
func (h *Hub) remove(s *source) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.sources[s.member] == s {
		delete(h.sources, s.member)
	}
}

// sweep ends the sources of processes that have left the view, and removes keys that have lingered
// for too long.
func (h *Hub) sweep(now time.Time) {
	v := h.cfg.Views.Now()
	h.mu.Lock()
	list := make([]*source, 0, len(h.sources))
	for _, s := range h.sources {
		list = append(list, s)
	}
	h.mu.Unlock()
	for _, s := range list {
		if s.sweep(now) || v != nil && !v.Has(s.member) {
			s.end()
		}
	}
}

// local is the source of this member's own partitions.
type local struct {
	*owner.Feed
	hub *Hub
}

// Read implements Source.
func (l *local) Read(r owner.Read) {
	if r.Key != "" {
		l.Feed.Read(l.hub.cfg.Context, r)
		return
	}
	l.hub.cfg.Spawn(func() { l.Feed.Read(l.hub.cfg.Context, r) })
}
