package route

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/metrics"
	"github.com/sgkandale/sharelock/internal/trace"
	"github.com/sgkandale/sharelock/mesh/account"
	"github.com/sgkandale/sharelock/mesh/epoch"
	"github.com/sgkandale/sharelock/mesh/keepalive"
	"github.com/sgkandale/sharelock/mesh/link"
	"github.com/sgkandale/sharelock/owner"
	"github.com/sgkandale/sharelock/ring"
)

// Config is what a [Router] needs to know. All fields but Calls and Tracer are required.
type Config struct {
	Self  ring.Identity
	Views *epoch.Views
	Links *link.Links
	Clock func() time.Duration
	// Limits are those of this node's configuration.
	Limits sharelock.Limits
	// Ready returns why this node may not serve, or nil (Q4).
	Ready func() error
	// AwaitStart holds a request while this node has not served yet since it started, for most at
	// most; StartPatience is for how long one that has no wait of its own.
	AwaitStart    func(ctx context.Context, most time.Duration)
	StartPatience time.Duration
	// Leaving is closed when callers that wait are sent away to other nodes.
	Leaving <-chan struct{}
	// List reads the locks that a member owns in an epoch.
	List func(ctx context.Context, m ring.Member, epoch uint32, r sharelock.ListRequest) (owner.Listing, error)
	// Spawn runs a goroutine, or returns false when this process stops.
	Spawn func(func()) bool
	// Context ends when this process stops.
	Context context.Context //nolint:containedctx // the lifetime of the process
	Log     *slog.Logger
	// Calls, if not nil, counts the calls of sessions.
	Calls *metrics.Calls
	// Tracer makes the spans of requests; nil makes none.
	Tracer *trace.Tracer
}

// Router takes requests at this node and brings their owners' answers back. It implements
// api.Locker. Safe for concurrent use.
type Router struct {
	cfg      Config
	keeper   *keepalive.Keeper
	accounts account.Accounts
	sessions sessions
	// abandoned is what callers have left that are gone.
	abandoned abandoned
	counters  callCounters
}

// New returns a router. Run does what no request does by itself.
func New(cfg Config) *Router {
	rt := &Router{cfg: cfg, counters: newCallCounters(cfg.Calls)}
	rt.abandoned.router = rt
	rt.keeper = keepalive.New(keepalive.Config{
		Self: cfg.Self, Views: cfg.Views, Links: cfg.Links, Clock: cfg.Clock, Ready: cfg.Ready, Limits: rt.limits,
		Release: func(ctx context.Context, key string, token sharelock.Token) error {
			_, err := rt.Release(ctx, key, token, false)
			return err
		},
		Spawn: cfg.Spawn, Log: cfg.Log,
	})
	return rt
}

// Run keeps the holds of sessions alive and looks after their calls, until ctx ends.
func (rt *Router) Run(ctx context.Context) {
	var wg sync.WaitGroup
	wg.Go(func() { rt.keeper.Run(ctx) })
	wg.Go(func() { rt.sessions.sweep(ctx, rt.cfg.Clock) })
	wg.Wait()
}

// limits are what requests to this node are checked against. MaxTTL is the cluster's, whatever the
// configuration says.
func (rt *Router) limits() sharelock.Limits {
	l := rt.cfg.Limits
	if v := rt.cfg.Views.Now(); v != nil {
		l.MaxTTL = v.Constants().MaxTTL()
		l.DefaultTTL = min(l.DefaultTTL, l.MaxTTL)
	}
	return l
}

// Forced tells the sessions that may be the holders' that holds were taken away by force: those that
// have made calls in the holder's name, and those that a hold is attached to.
func (rt *Router) Forced(holds []sharelock.Hold, reason string) {
	v := rt.cfg.Views.Now()
	if v == nil {
		return
	}
	for _, h := range holds {
		kept := rt.keeper.Taken(v.Partition(h.Key), h, reason)
		told := slices.Clone(kept)
		for _, s := range rt.sessions.of(h.ClientID, h.Principal) {
			if !slices.Contains(told, keepalive.Sink(s.to)) {
				told = append(told, s.to)
			}
		}
		for _, to := range told {
			to.Forced(h.Key, h.Token, reason)
		}
		if len(kept) > 0 {
			rt.keeper.Wake()
		}
	}
}
