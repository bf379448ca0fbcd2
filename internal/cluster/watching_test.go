package cluster_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/client"
	"github.com/sgkandale/sharelock/internal/cluster"
	"github.com/sgkandale/sharelock/internal/invariant"
	"github.com/sgkandale/sharelock/internal/virtual"
)

// types returns the types of events, without pings.
func types(events []sharelock.Event) string {
	var list []string
	for _, e := range events {
		if e.Type != sharelock.Ping {
			list = append(list, string(e.Type))
		}
	}
	return strings.Join(list, " ")
}

// has returns a condition for [cluster.Watching.Wait].
func has(t sharelock.EventType) func([]sharelock.Event) bool {
	return func(events []sharelock.Event) bool {
		return slices.ContainsFunc(events, func(e sharelock.Event) bool { return e.Type == t })
	}
}

// A key is watched at its owner and at any other node, alone and with all keys.
func TestSimWatch(t *testing.T) {
	for name, at := range map[string]int{"owner": 0, "backup": 1, "other": 2} {
		for _, prefix := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				virtual.Test(t, func(t *testing.T) {
					c := scene(t, 3, 2)
					key := placed(t, c, 0, 1)
					r := sharelock.WatchRequest{Key: key}
					if prefix {
						r = sharelock.WatchRequest{Prefix: key[:1]}
					}
					w := c.Watch(t.Context(), outside(t.Context(), t, c, "watcher", at), r)
					must(t, w.Wait(t.Context(), "synced", has(sharelock.Synced)))
					cl := outside(t.Context(), t, c, "user")
					first, err := cl.Acquire(t.Context(), key, client.TTL(sceneMax))
					must(t, err)
					must(t, w.Held(t.Context(), key, 0, first.Token()))
					next := make(chan *client.Lock, 1)
					go func() {
						l, err := cl.Acquire(t.Context(), key, client.TTL(sceneMax))
						must(t, err)
						next <- l
					}()
					must(t, w.Held(t.Context(), key, 1, first.Token()))
					must(t, first.Release(t.Context()))
					second := <-next
					must(t, w.Held(t.Context(), key, 0, second.Token()))
					_, err = c.Client(1).ForceRelease(t.Context(), key, second.Token(), "maintenance")
					must(t, err)
					must(t, w.Held(t.Context(), key, 0))
					if got, want := types(w.Events()), "synced acquired queued released acquired forced"; got != want {
						t.Errorf("told %s\nwant %s", got, want)
					}
					if last := w.Events()[5]; last.Reason != "maintenance" || last.ClientID != "user" {
						t.Errorf("%+v", last)
					}
				})
			})
		}
	}
}

// A failover appears as an event. Then the state follows, and later events.
func TestSimWatchOverACrash(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		c := scene(t, 3, 2)
		key := placed(t, c, 0, 1)
		cl := outside(t.Context(), t, c, "user", 1, 2)
		held, err := cl.Acquire(t.Context(), key, client.TTL(sceneMax))
		must(t, err)
		one := c.Watch(t.Context(), outside(t.Context(), t, c, "watcher", 2, 0, 1), sharelock.WatchRequest{Key: key})
		all := c.Watch(t.Context(), outside(t.Context(), t, c, "watcher of all", 2, 0, 1), sharelock.WatchRequest{})
		lost := c.Watch(t.Context(), outside(t.Context(), t, c, "watcher at the owner", 0, 1, 2), sharelock.WatchRequest{Key: key})
		for _, w := range []*cluster.Watching{one, all, lost} {
			must(t, w.Held(t.Context(), key, 0, held.Token()))
		}
		c.Kill(0)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		for _, w := range []*cluster.Watching{one, all} {
			must(t, w.Wait(ctx, "told of the fail-over", has(sharelock.Moved)))
		}
		must(t, lost.Wait(ctx, "told of the fail-over", func(events []sharelock.Event) bool {
			return has(sharelock.Reset)(events) || has(sharelock.Moved)(events)
		}))
		for _, w := range []*cluster.Watching{one, all, lost} {
			must(t, w.Held(ctx, key, 0, held.Token()))
		}
		must(t, held.Release(t.Context()))
		for _, w := range []*cluster.Watching{one, all, lost} {
			must(t, w.Held(ctx, key, 0))
		}
		if got, want := types(one.Events()), "snapshot synced moved snapshot synced released"; !strings.HasSuffix(got, want[len("snapshot synced "):]) {
			t.Errorf("told %s\nwant %s", got, want)
		}
	})
}

// A2, A3: a watch is not told what only the owner knows, so nothing has to be retracted when the owner
// is lost.
func TestSimWatchTellsWhatIsCommitted(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		c := scene(t, 3, 2)
		key := placed(t, c, 0, 1)
		cl := outside(t.Context(), t, c, "user", 2, 1)
		held, err := cl.Acquire(t.Context(), key, client.TTL(sceneMax))
		must(t, err)
		w := c.Watch(t.Context(), outside(t.Context(), t, c, "watcher", 2, 1), sharelock.WatchRequest{Key: key})
		must(t, w.Held(t.Context(), key, 0, held.Token()))
		// The release reaches only the owner.
		stuck := c.HoldMessages(cluster.Messages{From: 0, To: 1, Kinds: []cluster.Kind{cluster.Entries}})
		released := make(chan error, 1)
		go func() { released <- held.Release(t.Context()) }()
		must(t, stuck.WaitMet(t.Context(), 1))
		time.Sleep(sceneLease / 8) // time for an event that must not come
		if got := types(w.Events()); got != "snapshot synced" {
			t.Errorf("%s: %s: told %s before the backup knows it", cluster.Told, invariant.Replicated, got)
		}
		c.Kill(0)
		stuck.End()
		must(t, <-released)
		must(t, w.Held(t.Context(), key, 0))
	})
}
