package cluster

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/client"
)

// A Watching follows keys through a client and checks the events that it gets: see Told. All methods
// are safe for concurrent use.
type Watching struct {
	cluster *Cluster
	cancel  context.CancelFunc
	ended   chan struct{}

	mu      sync.Mutex
	changed chan struct{}               // closed and replaced at every event; guarded by mu
	events  []sharelock.Event           // guarded by mu
	keys    map[string]*watchedState    // guarded by mu
	over    map[grantOf]sharelock.Event // grants whose end was reported; guarded by mu
	largest map[string]sharelock.Token  // the largest token reported as acquired; guarded by mu
	inSync  bool                        // guarded by mu
	err     error                       // why the watch has ended; guarded by mu
}

// watchedState is a key as a Watching knows it.
type watchedState struct {
	holds   map[sharelock.Token]string // the client of each hold
	waiters int
	// cut is set if a snapshot says that it is incomplete.
	cut bool
}

// Watch follows keys through a client until Stop or the end of the client. When no node serves the
// watch for the client's patience, it starts again at the same place.
func (c *Cluster) Watch(ctx context.Context, cl *client.Client, r sharelock.WatchRequest) *Watching {
	ctx, cancel := context.WithCancel(ctx)
	w := &Watching{
		cluster: c, cancel: cancel, ended: make(chan struct{}), changed: make(chan struct{}),
		keys: map[string]*watchedState{}, over: map[grantOf]sharelock.Event{}, largest: map[string]sharelock.Token{},
	}
	c.mu.Lock()
	c.watchings = append(c.watchings, w)
	c.mu.Unlock()
	go func() {
		defer close(w.ended)
		for ctx.Err() == nil {
			if r.Resume == "" {
				w.forget() // the new watch does not know what the last one reported
			}
			var err error
			for e, failed := range cl.Watch(ctx, r) {
				if err = failed; err == nil {
					r.Resume = e.Cursor
					w.told(e)
				}
			}
			if !errors.Is(err, client.ErrUnreachable) {
				w.mu.Lock()
				w.err = err
				w.mu.Unlock()
				return
			}
		}
	}()
	return w
}

// Stop ends the watch. It returns an error if the watch had ended before.
func (w *Watching) Stop() error {
	w.cancel()
	<-w.ended
	w.mu.Lock()
	defer w.mu.Unlock()
	if errors.Is(w.err, context.Canceled) {
		return nil
	}
	return w.err
}

// Events returns all events so far.
func (w *Watching) Events() []sharelock.Event {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.events)
}

// Wait waits until the events fulfil a condition.
func (w *Watching) Wait(ctx context.Context, what string, fulfilled func(events []sharelock.Event) bool) error {
	for {
		w.mu.Lock()
		ok, changed, n := fulfilled(w.events), w.changed, len(w.events)
		w.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-changed:
		case <-w.ended:
			return fmt.Errorf("the watch has ended before %s: %w", what, w.Stop())
		case <-ctx.Done():
			return fmt.Errorf("after %d events not yet %s: %w", n, what, ctx.Err())
		}
	}
}

// Held waits until the watch is in sync and its state of a key is as given: the tokens of the holds,
// and the number of waiters.
func (w *Watching) Held(ctx context.Context, key string, waiters int, tokens ...sharelock.Token) error {
	slices.Sort(tokens)
	var has []sharelock.Token
	n := 0
	err := w.Wait(ctx, "told the state", func([]sharelock.Event) bool {
		has, n = nil, 0
		if k := w.keys[key]; k != nil {
			has, n = slices.Sorted(maps.Keys(k.holds)), k.waiters
		}
		return w.inSync && slices.Equal(has, tokens) && n == waiters
	})
	if err != nil {
		return fmt.Errorf("%q is held with %v and has %d waiters, want %v and %d: %w", key, has, n, tokens, waiters, err)
	}
	return nil
}

// told records an event and checks it against the earlier ones.
func (w *Watching) told(e sharelock.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, e)
	close(w.changed)
	w.changed = make(chan struct{})
	if problem := w.apply(&e); problem != "" && w.cluster.opts.checks(Told) {
		text := problem
		for _, e := range w.about(e.Key) {
			text += fmt.Sprintf("\n  %s +%v %q %s token %d/%d, %d waiting %s", e.Type, e.At.Sub(w.cluster.start).Round(time.Microsecond), e.Key, e.ClientID,
				e.Token.Epoch(), e.Token.Counter(), e.Waiters, e.Reason)
		}
		w.cluster.history.fail(&ViolationError{Told, text})
	}
}

// about returns the newest events about a key, and about the watch itself. The caller must hold mu.
func (w *Watching) about(key string) (list []sharelock.Event) {
	for i := len(w.events) - 1; i >= 0 && len(list) < 16; i-- {
		if e := w.events[i]; e.Key == key || e.Key == "" && e.Type != sharelock.Ping {
			list = append(list, e)
		}
	}
	slices.Reverse(list)
	return list
}

// forget drops the state of all keys.
func (w *Watching) forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.keys, w.inSync = map[string]*watchedState{}, false
}

// apply changes the state as the event says. It returns what is wrong with the event. The caller must
// hold mu.
func (w *Watching) apply(e *sharelock.Event) (problem string) {
	switch e.Type {
	case sharelock.Reset, sharelock.Moved:
		w.keys, w.inSync = map[string]*watchedState{}, false
		return ""
	case sharelock.Synced:
		w.inSync = true
		return ""
	case sharelock.Ping:
		return ""
	}
	k := w.keys[e.Key]
	if k == nil {
		k = &watchedState{holds: map[sharelock.Token]string{}}
		w.keys[e.Key] = k
	}
	before := k.waiters
	k.cut = k.cut || e.Type == sharelock.Snapshot && e.Reason != ""
	k.waiters = e.Waiters
	problem = w.token(k, e)
	if d := k.waiters - before; problem == "" && w.inSync && !steps(e.Type, d) {
		problem = fmt.Sprintf("%s changes the number of waiters of %q by %d", e.Type, e.Key, d)
	}
	if len(k.holds) == 0 && k.waiters == 0 && !k.cut {
		delete(w.keys, e.Key)
	}
	return problem
}

// steps reports whether an event may change the number of waiters by d, if no event was left out.
func steps(t sharelock.EventType, d int) bool {
	switch t {
	case sharelock.Queued:
		return d == 1
	case sharelock.LeftQueue:
		return d == -1
	case sharelock.Acquired:
		return d == 0 || d == -1
	case sharelock.Snapshot:
		return true
	default:
		return d == 0
	}
}

// token changes the holds of a key. The caller must hold mu.
func (w *Watching) token(k *watchedState, e *sharelock.Event) (problem string) {
	grant := grantOf{e.Key, e.Token}
	switch e.Type {
	case sharelock.Queued, sharelock.LeftQueue:
		return ""
	case sharelock.Acquired, sharelock.Snapshot:
		if e.Token == 0 {
			return ""
		}
		if end, over := w.over[grant]; over {
			problem = fmt.Sprintf("token %d of %q is held again; it was %s", e.Token, e.Key, end.Type)
		}
		if e.Type == sharelock.Acquired {
			if e.Token <= w.largest[e.Key] {
				problem = fmt.Sprintf("token %d of %q was acquired after token %d", e.Token, e.Key, w.largest[e.Key])
			}
			w.largest[e.Key] = e.Token
		}
		k.holds[e.Token] = e.ClientID
	default:
		if _, held := k.holds[e.Token]; !held && w.inSync && !k.cut {
			problem = fmt.Sprintf("token %d of %q is %s, and was not held", e.Token, e.Key, e.Type)
		}
		delete(k.holds, e.Token)
		w.over[grant] = *e
	}
	return problem
}

// unexplained compares the events with the answers of calls: a grant that was reported belongs to a
// request that has no other grant. calls are all acquires of all keys.
func (w *Watching) unexplained(calls []Call) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	type caller struct{ client, key string }
	answered, open := map[grantOf]bool{}, map[caller]map[string]bool{}
	for _, c := range calls {
		if c.Op != Acquire {
			continue
		}
		of := caller{c.Client, c.Key}
		if open[of] == nil {
			open[of] = map[string]bool{}
		}
		if _, known := open[of][c.RequestID]; !known {
			open[of][c.RequestID] = true
		}
		if c.OK() {
			answered[grantOf{c.Key, c.Token}] = true
			open[of][c.RequestID] = false
		}
	}
	for _, e := range w.events {
		requests := open[caller{e.ClientID, e.Key}]
		if e.Type != sharelock.Acquired || answered[grantOf{e.Key, e.Token}] || len(requests) == 0 {
			continue
		}
		if !slices.Contains(slices.Collect(maps.Values(requests)), true) {
			return &ViolationError{Told, fmt.Sprintf("token %d/%d of %q was told as acquired by %s, whose requests all have other tokens",
				e.Token.Epoch(), e.Token.Counter(), e.Key, e.ClientID)}
		}
	}
	return nil
}

// checkTold checks the events of all watches against the history.
func (c *Cluster) checkTold() error {
	if !c.opts.checks(Told) {
		return nil
	}
	c.mu.Lock()
	list := c.watchings
	c.mu.Unlock()
	if len(list) == 0 {
		return nil
	}
	calls := c.history.Calls()
	var errs []error
	for _, w := range list {
		errs = append(errs, w.unexplained(calls))
	}
	return errors.Join(errs...)
}
