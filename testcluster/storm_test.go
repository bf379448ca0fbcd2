package testcluster_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sgkandale/sharelock/client"
	"github.com/sgkandale/sharelock/testcluster"
)

// stormSeed makes TestSimStorm repeatable: SHARELOCK_TEST_SEED, or 0 for chance.
func stormSeed(t *testing.T) uint64 {
	t.Helper()
	given := os.Getenv("SHARELOCK_TEST_SEED")
	if given == "" {
		return rand.Uint64()
	}
	seed, err := strconv.ParseUint(given, 10, 64)
	must(t, err)
	return seed
}

// TestSimStorm does to a mesh of four nodes whatever comes to mind, for a minute of
// its time (less under the race detector), while clients take few keys in every mode and rarely do as they should.
// Calls may fail, locks may be lost; the invariants hold, and when it is over the
// mesh is whole again.
func TestSimStorm(t *testing.T) {
	seed := stormSeed(t)
	t.Logf("to repeat: SHARELOCK_TEST_SEED=%d go test -run %s", seed, t.Name())
	synctest.Test(t, func(t *testing.T) {
		w := weather{rnd: rand.New(rand.NewPCG(seed, 0))}
		// Leases that are much shorter than locks, and much longer; with backups and
		// without.
		r := 1 + w.rnd.IntN(3)
		c := testcluster.Start(t, testcluster.Options{
			Net: testcluster.Memory, Nodes: 4, Seed: seed,
			Timing: 200 * time.Millisecond << w.rnd.IntN(5), MaxTTL: time.Second << w.rnd.IntN(2),
			Configure: copies(r),
		})
		w.c = c
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		stormy, calm := context.WithCancel(ctx)
		var users sync.WaitGroup
		for n := range 16 {
			cl, err := c.Dial(ctx, client.Options{ClientID: fmt.Sprint("user-", n), Patience: time.Second}, n%4, (n+1)%4)
			must(t, err)
			u := user{cl: cl, rnd: rand.New(rand.NewPCG(seed, uint64(n+1))), maxTTL: c.MaxTTL()}
			users.Go(func() { u.run(stormy) })
		}
		long := max(time.Minute/slower, 15*time.Second)
		for end := time.Now().Add(long); time.Now().Before(end); {
			must(t, w.change(ctx))
			pause(ctx, time.Duration(w.rnd.Int64N(int64(3*c.Timing()))))
		}
		c.Heal()
		for i := range c.Len() {
			if c.Node(i) == nil {
				must(t, c.Restart(ctx, i))
			}
		}
		calm()
		users.Wait()
		must(t, c.WaitReady(ctx))
		granted := 0
		for _, call := range c.History().Calls() {
			if call.Op == testcluster.Acquire && call.OK() {
				granted++
			}
		}
		t.Logf("%d grants, %d events", granted, len(c.History().Events()))
		if granted < 20 {
			t.Errorf("%d grants in %v", granted, long)
		}
		for i := range c.Len() {
			takesPart(ctx, t, c, i)
		}
	})
}

// pause waits, or not until the end if ctx ends first.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// user is a client that does what clients do.
type user struct {
	cl     *client.Client
	rnd    *rand.Rand
	maxTTL time.Duration
}

func (u user) run(ctx context.Context) {
	for ctx.Err() == nil {
		u.once(ctx)
		pause(ctx, time.Duration(u.rnd.Int64N(int64(300*time.Millisecond))))
	}
}

// once takes a lock, and does with it the one or the other.
func (u user) once(ctx context.Context) {
	// Each family of modes has its keys.
	family := u.rnd.IntN(3)
	key := fmt.Sprintf("storm/%d/%d", family, u.rnd.IntN(3))
	ttl := u.maxTTL/8 + time.Duration(u.rnd.Int64N(int64(u.maxTTL*7/8)))
	opts := []client.Option{client.TTL(ttl), client.Wait(4 * time.Second)}
	switch {
	case family == 1 && u.rnd.IntN(3) > 0:
		opts = append(opts, client.Shared())
	case family == 2:
		opts = append(opts, client.Slots(3))
	}
	if u.rnd.IntN(4) == 0 {
		opts = append(opts, client.NoRenew())
	}
	wait, cancel := context.WithTimeout(ctx, time.Duration(u.rnd.Int64N(int64(6*time.Second))))
	defer cancel()
	l, err := u.cl.Acquire(wait, key, opts...)
	if err != nil {
		return // the weather, or another holds it
	}
	pause(ctx, time.Duration(u.rnd.Int64N(int64(500*time.Millisecond))))
	switch u.rnd.IntN(5) {
	case 0: // forgets it, but not for ever
		pause(ctx, time.Duration(u.rnd.Int64N(int64(2*time.Second))))
		_ = l.Release(ctx)
	case 1:
		_, _ = u.cl.Get(ctx, key)
		_ = l.Release(ctx)
	default:
		_ = l.Release(ctx)
	}
}

// weather is what happens to the mesh.
type weather struct {
	c   *testcluster.Cluster
	rnd *rand.Rand
}

// change does one thing. No more than one node is down at a time, since a mesh of
// four survives no more.
func (w weather) change(ctx context.Context) error {
	i, j := w.rnd.IntN(w.c.Len()), w.rnd.IntN(w.c.Len())
	for n := range w.c.Len() {
		if w.c.Node(n) == nil {
			return w.c.Restart(ctx, n)
		}
	}
	switch w.rnd.IntN(9) {
	case 0:
		w.c.Kill(i)
	case 1:
		short, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		_ = w.c.Stop(short, i) // in bad weather it may not be able to hand over
	case 2:
		w.c.Split([]int{i}, w.others(i))
	case 3:
		w.c.Cut(i, j)
	case 4:
		w.c.Delay(i, j, time.Duration(w.rnd.Int64N(int64(w.c.Timing()/4))))
	case 5:
		w.c.Freeze(i)
	default:
		w.c.Heal()
	}
	return nil
}

func (w weather) others(i int) []int {
	var list []int
	for n := range w.c.Len() {
		if n != i {
			list = append(list, n)
		}
	}
	return list
}
