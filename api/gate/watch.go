package gate

import (
	"context"
	"slices"
	"sync/atomic"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/auth"
	"github.com/sgkandale/sharelock/internal/caller"
	"github.com/sgkandale/sharelock/internal/event"
	pb "github.com/sgkandale/sharelock/proto/sharelock/v1"
)

// Watch is a node's function that calls send with what happens to the keys of a request, until ctx ends
// or send fails.
type Watch func(ctx context.Context, r sharelock.WatchRequest, send func([]*event.Event) error) error

// Watch runs a watch of the node for a caller that perhaps may not read all keys. It leaves out the
// events of other keys, and a synced event says so. When the rules change, the watch continues under the
// new rules, or ends.
func (g *Gate) Watch(ctx context.Context, r sharelock.WatchRequest, watch Watch, send func([]*event.Event) error) error {
	if !g.Authenticates() {
		return watch(ctx, r, send)
	}
	v := visitOf(ctx)
	if v == nil {
		return errNoVisit
	}
	return g.watch(ctx, watching{v.who, func() (*auth.Identity, error) { return g.auth.Refresh(v.who) }, g.waits}, r, watch, send)
}

// Watch is Watch of [Gate] for a session: it ends when the session's caller may not watch any more, by its
// newest credentials.
func (g *Guard) Watch(ctx context.Context, r sharelock.WatchRequest, watch Watch, send func([]*event.Event) error) error {
	who, err := g.caller()
	if err != nil {
		return err
	}
	v := g.visit(who)
	v.verb, v.key, v.from.method = auth.Read, r.Key+r.Prefix, pb.LockService_Watch_FullMethodName
	if err := g.placed(who); err != nil {
		v.refused(ctx, err)
		return err
	}
	ctx = caller.With(context.WithValue(ctx, visitKey{}, v), caller.Caller{Principal: who.Principal()})
	if ctx, err = v.permit(ctx, NeedsChecks, ""); err != nil {
		return err
	}
	err = g.gate.watch(ctx, watching{who, g.caller, g.watches}, r, watch, send)
	Finished(ctx, 0, err)
	return err
}

// watching says who watches: who it was when it was authenticated, and who it is now. all is the set of
// what is looked at again when that changes.
type watching struct {
	who *auth.Identity
	now func() (*auth.Identity, error)
	all map[*waiting]struct{}
}

func (g *Gate) watch(ctx context.Context, by watching, r sharelock.WatchRequest, watch Watch, send func([]*event.Event) error) error {
	var now atomic.Pointer[readRights]
	look := func(who *auth.Identity) error {
		if r.Key != "" {
			_, err := who.Check(auth.Read, r.Key)
			return err
		}
		_, all, err := who.Within(auth.Read, r.Prefix)
		now.Store(&readRights{who, all})
		return err
	}
	if r.Key != "" {
		if _, err := g.Check(ctx, auth.Read, r.Key); err != nil {
			return err
		}
	} else {
		_, all, err := g.Within(ctx, r.Prefix)
		if err != nil {
			return err
		}
		now.Store(&readRights{by.who, all})
	}
	ctx, cancel := context.WithCancelCause(ctx)
	w := &waiting{who: by.who, again: look, cancel: cancel}
	done := g.registerWait(ctx, by.all, w)
	w.look(by.now()) // it may have changed just before
	err := watch(ctx, r, func(events []*event.Event) error {
		if rights := now.Load(); rights != nil && !rights.all {
			events = rights.filter(events)
		}
		return send(events)
	})
	if why := done(); why != nil {
		return why
	}
	return err
}

// readRights is what a caller may read of the keys that it watches; all means everything.
type readRights struct {
	who *auth.Identity
	all bool
}

// filter returns the events that the caller may see. It does not change those that it was given.
func (r *readRights) filter(events []*event.Event) []*event.Event {
	mine := slices.Clone(events)
	mine = slices.DeleteFunc(mine, func(e *event.Event) bool { return e.Key != "" && !r.who.May(auth.Read, e.Key) })
	for i, e := range mine {
		if e.Type == sharelock.Synced {
			filtered := *e.Event
			filtered.Filtered = true
			mine[i] = event.New(&filtered)
		}
	}
	return mine
}
