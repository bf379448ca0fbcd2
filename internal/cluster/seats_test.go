package cluster_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/sgkandale/sharelock/internal/cluster"
	"github.com/sgkandale/sharelock/internal/virtual"
)

// Schedule 17: seats.

// orders returns all orders of 0 to n-1.
func orders(n int) (all [][]int) {
	if n == 0 {
		return [][]int{nil}
	}
	for _, rest := range orders(n - 1) {
		for at := range n {
			order := append(append(append([]int{}, rest[:at]...), n-1), rest[at:]...)
			all = append(all, order)
		}
	}
	return all
}

// Three nodes stop one after the other, in any order, by SIGTERM or by kill -9. Any two of them form
// the mesh again, also if the third has lost its directory (V1).
func TestSchedule17AnyTwoOfThree(t *testing.T) {
	for k, order := range orders(3) {
		for missing := range 3 {
			// Every order is combined with every missing node. Which stop is a kill varies.
			killed := (k + missing) % 4
			if sparse(3*k + missing) {
				continue
			}
			t.Run(fmt.Sprintf("stop %v, kill %d, without %d", order, killed, missing), func(t *testing.T) {
				virtual.Test(t, func(t *testing.T) {
					c, ctx := scene(t, 3, 2), patient(t)
					for i, n := range order {
						if i == killed {
							c.Kill(n)
						} else {
							must(t, c.Stop(ctx, n))
						}
					}
					must(t, c.Wipe(missing))
					var back []int
					for _, n := range order {
						if n != missing {
							back = append(back, n)
							must(t, c.Restart(ctx, n))
						}
					}
					must(t, c.WaitAmong(ctx, back...))
					must(t, c.Restart(ctx, missing)) // as a new member, which takes the free seat
					must(t, c.WaitMembers(ctx, 3))
				})
			})
		}
	}
}

// Five nodes stop one after the other. Any three of them form the mesh again.
func TestSchedule17AnyThreeOfFive(t *testing.T) {
	for first := range 5 {
		if sparse(first) {
			continue
		}
		t.Run(fmt.Sprintf("stop from %d", first), func(t *testing.T) {
			virtual.Test(t, func(t *testing.T) {
				c, ctx := scene(t, 5, 3), patient(t)
				for i := range 5 {
					must(t, c.Stop(ctx, (first+i)%5))
				}
				// From 5 to 3: three seats are left, those of the nodes that stopped last. Any two of these form
				// the mesh.
				var back []int
				for i := 2; i < 5; i++ {
					if i != 2+first%3 {
						back = append(back, (first+i)%5)
						must(t, c.Restart(ctx, (first+i)%5))
					}
				}
				must(t, c.WaitAmong(ctx, back...))
				for i := range 5 {
					if c.Node(i) == nil {
						must(t, c.Restart(ctx, i))
					}
				}
				must(t, c.WaitMembers(ctx, 5))
			})
		})
	}
}

// All nodes are told to stop at about the same time. That takes no longer than stopping one (V7),
// and they form the mesh again.
func TestSchedule17AllStopTogether(t *testing.T) {
	for _, n := range []int{1, 2, 3, 4, 5} {
		for apart := range 4 {
			if sparse(4*n + apart) {
				continue
			}
			t.Run(fmt.Sprintf("%d nodes, %d", n, apart), func(t *testing.T) {
				virtual.Test(t, func(t *testing.T) {
					c, ctx := scene(t, n, min(n, 2)), patient(t)
					var all sync.WaitGroup
					begin := time.Now()
					for i := range n {
						all.Go(func() {
							pause(ctx, time.Duration((i*(apart+1))%n*apart)*17*time.Millisecond)
							if err := c.Stop(ctx, i); err != nil {
								t.Error(err)
							}
						})
					}
					all.Wait()
					took := time.Since(begin)
					t.Logf("all have stopped after %v", took)
					if took > 2*time.Second {
						t.Errorf("all have stopped after %v, want 2s", took)
					}
					for i := range n {
						must(t, c.Restart(ctx, i))
					}
					must(t, c.WaitMembers(ctx, n))
				})
			})
		}
	}
}

// b is down for maintenance when c crashes and loses its disk: the return of b repairs the mesh.
func TestSchedule17MaintenanceAndALostDisk(t *testing.T) {
	for b := range 3 {
		t.Run(fmt.Sprintf("maintenance of %d", b), func(t *testing.T) {
			virtual.Test(t, func(t *testing.T) {
				c, ctx := scene(t, 3, 2), patient(t)
				lost := (b + 1) % 3
				must(t, c.Stop(ctx, b))
				c.Kill(lost)
				must(t, c.Wipe(lost))
				must(t, c.Restart(ctx, b))
				must(t, c.WaitAmong(ctx, b, (b+2)%3))
				must(t, c.Restart(ctx, lost))
				must(t, c.WaitMembers(ctx, 3))
			})
		})
	}
}

// A voter whose vote the others need stops only when a member without a seat has taken one.
func TestSchedule17NeededVoterWaits(t *testing.T) {
	for first := range 4 {
		if sparse(first) {
			continue
		}
		t.Run(fmt.Sprintf("stop %d", first), func(t *testing.T) {
			virtual.Test(t, func(t *testing.T) {
				c, ctx := scene(t, 4, 2), patient(t)
				gone := []int{first, (first + 1) % 4}
				var both sync.WaitGroup
				for _, i := range gone {
					both.Go(func() {
						if err := c.Stop(ctx, i); err != nil {
							t.Error(err)
						}
					})
				}
				both.Wait()
				must(t, c.WaitAmong(ctx, (first+2)%4, (first+3)%4))
			})
		})
	}
}

// A process that was told to stop and has left the view does not hear that it may end. If all others
// have ended, it stops at once (V7). If one of them answers that it is not the leader, an election
// might need its vote, so it waits for the length of a lease.
func TestSchedule17NoLeaderIsFound(t *testing.T) {
	for _, ended := range []bool{true, false} {
		t.Run(fmt.Sprintf("the others end: %t", ended), func(t *testing.T) {
			virtual.Test(t, func(t *testing.T) {
				c, ctx := scene(t, 3, 2), patient(t)
				leader := c.Leader()
				last := (leader + 1) % 3
				unheard := c.HoldMessages(cluster.Messages{From: leader, To: last, Kinds: []cluster.Kind{cluster.LeaseAnswer}})
				stopped := make(chan error, 1)
				go func() { stopped <- c.Stop(ctx, last) }()
				// As a voter, it learns from Raft's log of the view that it is not in.
				until(ctx, t, "it has left the view", func() bool {
					m := c.Node(last)
					return m == nil || !slices.Contains(members(c, last), c.Name(last))
				})
				if c.Node(last) == nil {
					t.Fatal("it has stopped before the others end")
				}
				if ended {
					c.Kill(leader)
					c.Kill((leader + 2) % 3)
					unheard.End()
				}
				begin := time.Now()
				must(t, <-stopped)
				took := time.Since(begin)
				t.Logf("stopped after %v", took)
				if ended && took >= sceneLease/4 {
					t.Errorf("stopped %v after everybody else has ended, want less than %v", took, sceneLease/4)
				}
				if !ended && took < sceneLease*9/10 {
					t.Errorf("stopped after %v, while others answer; want %v", took, sceneLease)
				}
			})
		})
	}
}
