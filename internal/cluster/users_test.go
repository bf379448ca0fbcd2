package cluster_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/client"
)

// Each family of modes has its own keys.
const (
	exclusive = iota
	mixed
	slotted
	families

	keysEach = 3
	slots    = 3
)

func stormKey(family, n int) string { return fmt.Sprintf("storm/%d/%d", family, n) }

// oldIDs holds request ids that were used before.
type oldIDs struct {
	mu   sync.Mutex
	list []oldID // guarded by mu
	made int     // guarded by mu
}

type oldID struct {
	id, key string
	mode    []client.Option // the same request, or it would not be a duplicate
	sent    time.Time
}

// another returns a new request id.
func (o *oldIDs) another(key string, mode []client.Option) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.made++
	old := oldID{fmt.Sprint("own-", o.made), key, mode, time.Now()}
	o.list = append(o.list, old)
	return old.id
}

// again returns an id that may still be sent. Nobody sends an id any more that has been unanswered
// for 30 s (Q2).
func (o *oldIDs) again(rnd *rand.Rand) (oldID, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for len(o.list) > 0 && time.Since(o.list[0].sent) > 20*time.Second {
		o.list = o.list[1:]
	}
	if len(o.list) == 0 {
		return oldID{}, false
	}
	return o.list[rnd.IntN(len(o.list))], true
}

// user is a client that behaves as clients do.
type user struct {
	cl     *client.Client
	rnd    *rand.Rand
	maxTTL time.Duration
	ids    *oldIDs
}

func (u user) run(ctx context.Context) {
	for ctx.Err() == nil {
		u.once(ctx)
		pause(ctx, time.Duration(u.rnd.Int64N(int64(400*time.Millisecond))))
	}
}

// once acquires a lock and does something with it.
func (u user) once(ctx context.Context) {
	family := u.rnd.IntN(families)
	key := stormKey(family, u.rnd.IntN(keysEach))
	ttl := u.maxTTL/8 + time.Duration(u.rnd.Int64N(int64(u.maxTTL*7/8)))
	var mode []client.Option
	switch {
	case family == mixed && u.rnd.IntN(3) > 0:
		mode = append(mode, client.Shared())
	case family == slotted:
		mode = append(mode, client.Slots(slots))
	}
	opts := []client.Option{client.TTL(ttl), client.Wait(time.Duration(u.rnd.IntN(3)) * 4 * time.Second)}
	switch u.rnd.IntN(8) {
	case 0: // with a request id that can be used again
		opts = append(opts, client.RequestID(u.ids.another(key, mode)))
	case 1: // a late duplicate, perhaps of a request whose hold was released long ago
		if old, ok := u.ids.again(u.rnd); ok {
			key, mode = old.key, old.mode
			opts = append(opts, client.RequestID(old.id))
		}
	}
	if u.rnd.IntN(4) == 0 {
		opts = append(opts, client.MaxHold(ttl/2+time.Duration(u.rnd.Int64N(int64(2*u.maxTTL)))))
	}
	opts = append(opts, mode...)
	careless := u.rnd.IntN(4) == 0
	if careless {
		opts = append(opts, client.NoRenew())
	}
	wait, cancel := context.WithTimeout(ctx, time.Duration(u.rnd.Int64N(int64(6*time.Second))))
	defer cancel()
	l, err := u.cl.Acquire(wait, key, opts...)
	if err != nil {
		return // a fault, or another client holds it
	}
	pause(ctx, time.Duration(u.rnd.Int64N(int64(500*time.Millisecond))))
	switch u.rnd.IntN(12) {
	case 0, 1: // keeps it for a while, but not for ever
		pause(ctx, time.Duration(u.rnd.Int64N(int64(2*u.maxTTL))))
	case 2:
		_, _ = u.cl.Get(ctx, key)
	case 4:
		_ = l.Renew(ctx, 0, client.Metadata(map[string]string{"step": "2"}))
	case 3:
		_, _ = u.cl.CheckToken(ctx, key, l.Token())
	default:
		if careless && u.rnd.IntN(4) == 0 {
			return // and never comes back: the mesh must end the lock
		}
	}
	short, done := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer done()
	_ = l.Release(short)
}

// hoarder makes the copies of a few partitions big, so that they move in many pieces and faults happen
// during a move.
type hoarder struct {
	cl     *client.Client
	maxTTL time.Duration
}

const (
	hoards   = 2   // number of keys
	hoarded  = 200 // slots of each key, which are 400 KiB
	hoarding = 4   // slots that are requested at a time
)

// run acquires slots with the largest metadata, and lets them expire.
func (h hoarder) run(ctx context.Context) {
	big := map[string]string{"x": strings.Repeat("y", sharelock.MaxMetadataBytes-1)}
	var work sync.WaitGroup
	for n := range hoarding {
		work.Go(func() {
			for ctx.Err() == nil {
				wait, cancel := context.WithTimeout(ctx, time.Second)
				_, err := h.cl.Acquire(wait, fmt.Sprintf("hoard/%d", n%hoards), client.Slots(hoarded), client.TTL(h.maxTTL),
					client.Wait(0), client.Metadata(big), client.NoRenew())
				cancel()
				if err != nil {
					pause(ctx, h.maxTTL/10)
				} else {
					pause(ctx, h.maxTTL*hoarding/hoards/hoarded)
				}
			}
		})
	}
	work.Wait()
}
