package peer

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/sgkandale/sharelock/ring"
)

// maxDialBacks is the maximum number of processes that are dialled back at the same time.
const maxDialBacks = 16

// DialBacks dials joiners back before their probes are answered (V3). A process that can dial out
// but cannot be dialled, because of a wrong mesh.peer_advertise, NAT or a firewall, must not become
// a member: asks, syncs and operations go to it, and each of its admissions would stall every
// partition until it is removed again. A DialBacks is safe for concurrent use.
type DialBacks struct {
	// dial opens a link to a process and calls it.
	dial  func(ctx context.Context, m ring.Member) error
	clock func() time.Duration
	log   *slog.Logger
	slots chan struct{}

	mu    sync.Mutex
	known map[ring.Identity]*dialBack // guarded by mu
}

// dialBack is what is known of one incarnation of a process.
type dialBack struct {
	addr string
	// reached: it was dialled at addr. warned: it was logged that it cannot be dialled.
	reached, warned bool
	// member: it was seen in a view.
	member bool
	asked  time.Duration
}

// forgetDialBack is how long a process that is not a member is remembered after its last probe.
const forgetDialBack = time.Minute

// NewDialBacks returns a DialBacks that dials with dial.
func NewDialBacks(dial func(context.Context, ring.Member) error, clock func() time.Duration, log *slog.Logger) *DialBacks {
	return &DialBacks{dial: dial, clock: clock, log: log, slots: make(chan struct{}, maxDialBacks), known: map[ring.Identity]*dialBack{}}
}

// Check returns nil if the process can be dialled at the address it names. An incarnation
// that was dialled once is not dialled again until it has been removed from a view.
func (d *DialBacks) Check(ctx context.Context, m ring.Member) error {
	if d.remembers(m) {
		return nil
	}
	select {
	case d.slots <- struct{}{}:
		defer func() { <-d.slots }()
	case <-ctx.Done():
		return ctx.Err()
	}
	err := d.dial(ctx, m)
	if d.note(m, err) {
		d.log.Warn("a process that wants to join cannot be dialled, so it is not admitted",
			"name", m.Name, "address", m.Peer, "error", err)
	}
	return err
}

func (d *DialBacks) remembers(m ring.Member) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	k := d.known[m.Identity]
	now := d.clock()
	if k == nil || k.addr != m.Peer {
		d.forget(now) // a process that restarts again and again has another identity each time
		k = &dialBack{addr: m.Peer}
		d.known[m.Identity] = k
	}
	k.asked = now
	return k.reached
}

// note records the result of an attempt. It reports whether to log a warning.
func (d *DialBacks) note(m ring.Member, err error) (warn bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	k := d.known[m.Identity]
	if k == nil || k.addr != m.Peer {
		return false
	}
	k.reached = err == nil
	warn = err != nil && !k.warned
	k.warned = err != nil
	return warn
}

// Keep forgets processes that were removed from the view, and those that have given up.
func (d *DialBacks) Keep(v ring.View) {
	now := d.clock()
	d.mu.Lock()
	defer d.mu.Unlock()
	for id, k := range d.known {
		if _, in := v.Find(id); in {
			k.member = true
		} else if k.member {
			delete(d.known, id)
		}
	}
	d.forget(now)
}

// forget drops processes that never were members and have given up. It needs d.mu.
func (d *DialBacks) forget(now time.Duration) {
	for id, k := range d.known {
		if !k.member && now-k.asked > forgetDialBack {
			delete(d.known, id)
		}
	}
}
