package route

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/rules"
	"github.com/sgkandale/sharelock/owner"
)

const (
	// mostAbandoned bounds what waits to be ended. What comes on top of it ends with its TTL.
	mostAbandoned = 1 << 16
	// abandonedAtOnce is how many attempts are under way at once, and abandonedTime how long
	// each may take.
	abandonedAtOnce = 64
	abandonedTime   = time.Second
	// abandonedRest is the longest pause after an attempt that failed.
	abandonedRest = time.Second
)

// abandoned are grants, and request ids that may be granted, that no caller will ask for again.
// Each is ended at its owner. The owner may be away for seconds while the view changes, and
// this node may be cut off for longer, so that is tried for as long as a hold can be left.
type abandoned struct {
	router *Router

	mu sync.Mutex
	// list are those that no worker has now, in the order of their attempts. Guarded by mu.
	list    []*leftover
	workers int // guarded by mu
	dropped int // for want of room; guarded by mu
	// quiet is closed when there are no workers; nil if nobody waits for that. Guarded by mu.
	quiet chan struct{}
}

// leftover is one of them.
type leftover struct {
	req   owner.Request // a release, or a cancel with Drop
	until time.Duration
	rest  time.Duration
	// done is closed when nothing is left, or when it is given up.
	done chan struct{}
}

// TakeBack implements api.Locker.
func (rt *Router) TakeBack(h sharelock.Hold) <-chan struct{} {
	return rt.abandoned.add(owner.Request{Kind: owner.Release, Key: h.Key, Token: h.Token, Principal: h.Principal}, h.TTL)
}

// add ends what a request names, of a hold with this TTL, in the background. It does not block.
// The channel is closed when that is done.
func (a *abandoned) add(r owner.Request, ttl time.Duration) <-chan struct{} {
	x := &leftover{req: r, until: a.router.cfg.Clock() + rules.FenceTime + rules.Stretch(ttl), done: make(chan struct{})}
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.list) >= mostAbandoned {
		if a.dropped++; a.dropped&(a.dropped-1) == 0 {
			a.router.cfg.Log.Warn("too many grants of disconnected callers wait to be released; the rest end after their TTL", "left", a.dropped)
		}
		close(x.done)
		return x.done
	}
	a.list = append(a.list, x)
	if a.workers < abandonedAtOnce {
		// A node that stops ends nothing any more; then what is held ends with its TTL.
		if a.router.cfg.Spawn(a.work) {
			a.workers++
		} else if a.workers == 0 {
			a.list = nil
			close(x.done)
		}
	}
	return x.done
}

// work makes attempts until nothing is left to end.
func (a *abandoned) work() {
	for x := a.next(nil); x != nil; {
		if a.attempt(x) {
			close(x.done)
			x = a.next(nil)
			continue
		}
		x.rest = min(max(2*x.rest, rules.RetryMost), abandonedRest)
		t := time.NewTimer(x.rest)
		select {
		case <-t.C:
		case <-a.router.cfg.Context.Done():
		}
		t.Stop()
		x = a.next(x)
	}
}

// next appends back to the list, unless it is nil, and takes the first leftover from it. It
// returns nil, and the worker is no longer counted, if the list is empty or the node stops.
func (a *abandoned) next(back *leftover) *leftover {
	a.mu.Lock()
	defer a.mu.Unlock()
	if back != nil {
		a.list = append(a.list, back)
	}
	if a.router.cfg.Context.Err() != nil {
		for _, x := range a.list {
			close(x.done)
		}
		a.list = nil
	}
	if len(a.list) == 0 {
		a.list = nil
		if a.workers--; a.workers == 0 && a.quiet != nil {
			close(a.quiet)
			a.quiet = nil
		}
		return nil
	}
	x := a.list[0]
	a.list = a.list[1:]
	return x
}

// Settle waits until nothing is left to end of what callers have left that are gone, or until ctx
// ends.
func (rt *Router) Settle(ctx context.Context) { rt.abandoned.settle(ctx) }

func (a *abandoned) settle(ctx context.Context) {
	a.mu.Lock()
	if a.workers == 0 {
		a.mu.Unlock()
		return
	}
	if a.quiet == nil {
		a.quiet = make(chan struct{})
	}
	quiet := a.quiet
	a.mu.Unlock()
	select {
	case <-quiet:
	case <-ctx.Done():
	}
}

// attempt makes one attempt. It reports whether nothing is left to do.
func (a *abandoned) attempt(x *leftover) bool {
	rt := a.router
	ctx, cancel := context.WithTimeout(rt.cfg.Context, abandonedTime)
	defer cancel()
	_, err := rt.newRequest(ctx, x.req).await(ctx)
	// Q6: a fence that there is no room for is sent again.
	if err == nil || isAnswer(err) && !errors.Is(err, sharelock.ErrQuota) {
		return true
	}
	if rt.cfg.Clock() < x.until {
		return false
	}
	rt.cfg.Log.Warn("a grant of a disconnected caller was not released", "key", x.req.Key, "error", err)
	return true
}
