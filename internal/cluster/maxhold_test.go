package cluster_test

import (
	"errors"
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/client"
	"github.com/sgkandale/sharelock/internal/cluster"
	"github.com/sgkandale/sharelock/internal/virtual"
	"github.com/sgkandale/sharelock/mesh"
)

// A lock with max_hold ends for its holder exactly then, although it is renewed and its owner has
// crashed meanwhile. It goes to the next waiter when the owner's time is over, a tenth later: no
// sooner by the fastest clock, and not a TTL later either.
func TestSimMaxHold(t *testing.T) {
	const longest = 40 * time.Second
	for _, tc := range []struct {
		name string
		// rate is the rate of the nodes' clocks.
		rate    float64
		crashes []time.Duration
		perMesh bool
	}{
		{name: "nothing happens", rate: 1},
		{name: "the owner crashes", rate: 1, crashes: []time.Duration{15 * time.Second}},
		{name: "the owner crashes twice", rate: 1, crashes: []time.Duration{10 * time.Second, 29 * time.Second}},
		{name: "the nodes' clocks are fast", rate: 1.09, crashes: []time.Duration{20 * time.Second}},
		{name: "by the mesh's limit", rate: 1, crashes: []time.Duration{20 * time.Second}, perMesh: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			virtual.Test(t, func(t *testing.T) {
				ctx := patient(t)
				c := cluster.Start(inRAM(t), cluster.Options{
					Net: cluster.Memory, Nodes: 4, Timing: sceneLease, MaxTTL: sceneMax,
					Configure: func(i int, cfg *mesh.Config) {
						copies(2)(i, cfg)
						if tc.perMesh {
							cfg.MaxHold = longest
						}
					},
				})
				for i := range c.Len() {
					c.SetRate(i, tc.rate)
				}
				holder, next := outside(ctx, t, c, "holder", 0, 1, 2, 3), outside(ctx, t, c, "next", 0, 1, 2, 3)
				opt := client.MaxHold(longest)
				if tc.perMesh {
					opt = client.MaxHold(time.Hour)
				}
				began := time.Now()
				l, err := holder.Acquire(ctx, "k", client.TTL(sceneTTL), opt)
				must(t, err)
				if got := l.Hold().MaxHold; got != longest {
					t.Errorf("the longest time is %v, want %v", got, longest)
				}
				type grant struct {
					err error
					at  time.Duration
				}
				granted := make(chan grant, 1)
				go func() {
					_, err := next.Acquire(ctx, "k", client.TTL(sceneTTL), client.Wait(5*time.Minute))
					granted <- grant{err, time.Since(began)}
				}()
				down := -1
				for _, at := range tc.crashes {
					time.Sleep(at - time.Since(began))
					if down >= 0 {
						must(t, c.Restart(ctx, down))
						time.Sleep(5 * time.Second)
					}
					down = c.Owner("k")
					c.Kill(down)
				}
				<-l.Done()
				if held := time.Since(began); held != longest {
					t.Errorf("Done after %v, want %v", held, longest)
				}
				if err := l.Err(); !errors.Is(err, client.ErrLost) || !errors.Is(err, client.ErrMaxHold) {
					t.Errorf("the lock ended with %v", err)
				}
				g := <-granted
				must(t, g.err)
				least := time.Duration(float64(longest) * 1.1 / tc.rate)
				if most := least + sceneLease; g.at < longest || g.at < least-time.Millisecond || g.at > most {
					t.Errorf("granted to the next after %v, want %v to %v", g.at, least, most)
				}
			})
		})
	}
}

// Metadata that a renewal has changed is in all copies: Get and List show it after a crash of the
// owner. A renewal by a session keeps it.
func TestSimMetadataSurvives(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		ctx := patient(t)
		c := scene(t, 3, 2)
		cl := outside(ctx, t, c, "holder", 0, 1, 2)
		l, err := cl.Acquire(ctx, "k", client.TTL(sceneTTL), client.Metadata(map[string]string{"step": "1"}))
		must(t, err)
		want := func(step string) {
			t.Helper()
			state, err := cl.Get(ctx, "k")
			must(t, err)
			if got := state.Holds[0].Metadata["step"]; got != step || l.Hold().Metadata["step"] != step {
				t.Errorf("step %q, the lock says %q, want %q", got, l.Hold().Metadata["step"], step)
			}
			page, err := cl.List(ctx, sharelock.ListRequest{})
			must(t, err)
			if got := page.Locks[0].Holds[0].Metadata["step"]; got != step {
				t.Errorf("the list says %q, want %q", got, step)
			}
		}
		want("1")
		must(t, l.Renew(ctx, 0, client.Metadata(map[string]string{"step": "2"})))
		want("2")
		time.Sleep(2 * sceneTTL) // a session keeps it
		want("2")
		c.Kill(c.Owner("k"))
		want("2")
		must(t, l.Renew(ctx, 0))
		want("2")
		must(t, l.Renew(ctx, 0, client.Metadata(nil)))
		want("")
		must(t, l.Release(ctx))
	})
}

// A waiter is told its place, through any node and after a crash of the owner, and again when the
// place has changed.
func TestSimQueuePositions(t *testing.T) {
	for _, transport := range []client.Transport{client.TransportPlain, client.TransportGRPC} {
		virtual.Test(t, func(t *testing.T) {
			ctx := patient(t)
			c := scene(t, 3, 2)
			cl, err := c.Dial(ctx, client.Options{ClientID: "c", Patience: 3 * time.Minute, Transport: transport}, 0, 1, 2)
			must(t, err)
			first, err := cl.Acquire(ctx, "k", client.TTL(sceneTTL))
			must(t, err)
			const waiters = 3
			told := make(chan [2]int, 100)
			locks := make(chan *client.Lock, waiters)
			for i := range waiters {
				go func() {
					l, err := cl.Acquire(ctx, "k", client.TTL(sceneTTL), client.Wait(5*time.Minute), client.OnQueued(func(position int) { told <- [2]int{i, position} }))
					if err != nil {
						t.Error(err)
						return
					}
					locks <- l
				}()
				select {
				case got := <-told:
					if got != [2]int{i, i + 1} {
						t.Errorf("waiter %d of %d was told %v", i, waiters, got)
					}
				case <-time.After(time.Second):
					t.Fatalf("waiter %d is not told its place", i)
				}
			}
			c.Kill(c.Owner("k"))
			time.Sleep(10 * time.Second) // nothing has changed
			if len(told) > 0 {
				t.Errorf("told %v, though nothing has changed", <-told)
			}
			for held := first; ; held = <-locks {
				must(t, held.Release(ctx))
				next := map[int]int{}
				time.Sleep(5 * time.Second)
				for len(told) > 0 {
					got := <-told
					next[got[0]] = got[1]
				}
				if len(next) == 0 {
					break
				}
				for i, position := range next {
					if want := i - (waiters - len(next)) + 1; position != want {
						t.Errorf("waiter %d was told %d, want %d", i, position, want)
					}
				}
			}
			must(t, (<-locks).Release(ctx))
		})
	}
}
