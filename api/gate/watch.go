package gate

import (
	"context"
	"slices"
	"sync/atomic"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/auth"
	"github.com/sgkandale/sharelock/internal/event"
)

// Watch is a node's function that calls send with what happens to the keys of a request, until ctx ends
// or send fails.
type Watch func(ctx context.Context, r sharelock.WatchRequest, send func([]*event.Event) error) error

// Watch runs a watch of the node for a caller that perhaps may not read all keys. It leaves out the
// events of other keys, and a synced event says so. When the rules change, the watch continues under the
// new rules, or ends.
func (g *Gate) Watch(ctx context.Context, r sharelock.WatchRequest, watch Watch, send func([]*event.Event) error) error {
	v := visitOf(ctx)
	if !g.Authenticates() {
		return watch(ctx, r, send)
	}
	if v == nil {
		return errNoVisit
	}
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
		now.Store(&readRights{v.who, all})
	}
	ctx, cancel := context.WithCancelCause(ctx)
	done := g.registerWait(ctx, &waiting{who: v.who, again: look, cancel: cancel})
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
