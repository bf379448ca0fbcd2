//go:build linux

package main

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sgkandale/sharelock/client"
)

// heldLocks are locks that are held, and renewed by their clients, while everything
// else changes.
type heldLocks struct {
	locks []*client.Lock
	pulse *pulse
}

func holdThirty(t *testing.T, clients []*client.Client) heldLocks {
	t.Helper()
	held := holding(t)
	for i := range 30 {
		l, err := clients[i%len(clients)].Acquire(context.Background(), fmt.Sprintf("held/%d", i), client.TTL(longTTL))
		if err != nil {
			t.Fatal(err)
		}
		held.locks = append(held.locks, l)
	}
	return held
}

// holding returns locks that are held already.
func holding(t *testing.T, locks ...*client.Lock) heldLocks {
	return heldLocks{locks, newPulse(t)}
}

// check fails the test for every lock that is lost according to its client or the mesh, and says according
// to which.
func (h heldLocks) check(t *testing.T, c *client.Client) {
	t.Helper()
	for _, l := range h.locks {
		var lost error
		select {
		case <-l.Done():
			lost = l.Err()
		default:
		}
		check, err := c.CheckToken(context.Background(), l.Key(), l.Token())
		if v := verdict(lost, check.Current, err); v != "" {
			t.Errorf("lock %s: %s; this process, which renews it, has stood still for %v at most", l.Key(), v, h.pulse.longest())
		}
	}
}

// verdict says what is wrong with a lock, or "". lost is the client's error; the other arguments are the
// answer of the mesh.
func verdict(lost error, current bool, unknown error) string {
	switch {
	case unknown != nil && lost != nil:
		return fmt.Sprintf("its client has lost it (%v), and the mesh does not answer whether it is held: %v", lost, unknown)
	case unknown != nil:
		return fmt.Sprintf("its client holds it, and the mesh does not answer whether it is held: %v", unknown)
	case lost != nil && current:
		return fmt.Sprintf("its client has lost it (%v), and the mesh has not: no answer to a renewal came in time", lost)
	case lost != nil:
		return fmt.Sprintf("its client and the mesh have lost it: %v", lost)
	case !current:
		return "the mesh has lost it, and its client does not know"
	}
	return ""
}

func (h heldLocks) release(t *testing.T) {
	t.Helper()
	for _, l := range h.locks {
		if err := l.Release(context.Background()); err != nil {
			t.Error(err)
		}
	}
}

// pulse measures for how long this process, and so its clients, got no processor time.
type pulse struct{ gap atomic.Int64 }

// newPulse measures until the end of the test.
func newPulse(t *testing.T) *pulse {
	const beat = 50 * time.Millisecond
	p, stop, ended := &pulse{}, make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(beat)
		defer tick.Stop()
		for last := time.Now(); ; {
			select {
			case <-stop:
				return
			case <-tick.C:
			}
			now := time.Now()
			p.gap.Store(max(p.gap.Load(), int64(now.Sub(last)-beat)))
			last = now
		}
	}()
	t.Cleanup(func() { close(stop); <-ended })
	return p
}

func (p *pulse) longest() time.Duration { return time.Duration(p.gap.Load()).Round(time.Millisecond) }

// Each possible problem of a lock has a different message.
func TestVerdict(t *testing.T) {
	lost, unknown := client.ErrLost, context.DeadlineExceeded
	seen := map[string]bool{}
	for _, v := range []string{
		verdict(nil, false, nil), verdict(lost, false, nil), verdict(lost, true, nil), verdict(nil, false, unknown), verdict(lost, false, unknown),
	} {
		if v == "" || seen[v] {
			t.Errorf("%q is said twice, or nothing is", v)
		}
		seen[v] = true
	}
	if v := verdict(nil, true, nil); v != "" {
		t.Errorf("a lock that is held: %s", v)
	}
}
