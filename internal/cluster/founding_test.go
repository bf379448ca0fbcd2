package cluster_test

import (
	"context"
	"log/slog"
	"slices"
	"strconv"
	"testing"

	"github.com/sgkandale/sharelock/client"
	"github.com/sgkandale/sharelock/internal/cluster"
	"github.com/sgkandale/sharelock/internal/virtual"
	"github.com/sgkandale/sharelock/mesh"
)

// founders starts a mesh of three whose nodes have --found in their unit files from their second
// start on. The log is that of node 0.
func founders(t *testing.T) (*cluster.Cluster, *logText) {
	t.Helper()
	log := &logText{}
	starts := make([]int, 3) // one start of a node at a time
	c := cluster.Start(inRAM(t), cluster.Options{
		Net: cluster.Memory, Nodes: 3, Timing: sceneLease, MaxTTL: sceneMax,
		Configure: func(i int, cfg *mesh.Config) {
			copies(2)(i, cfg)
			starts[i]++
			cfg.Found = starts[i] > 1
			if i == 0 {
				cfg.Logger = slog.New(slog.NewTextHandler(log, nil))
			}
		},
	})
	return c, log
}

// V0: a node with --found in its unit file loses its data directory and starts again while its mesh
// lives. It joins that mesh, and does not grant the mesh's keys in a mesh of its own.
func TestSimFoundedTwice(t *testing.T) {
	for name, apart := range map[string]bool{"in touch": false, "out of touch": true} {
		t.Run(name, func(t *testing.T) {
			virtual.Test(t, func(t *testing.T) {
				c, log := founders(t)
				ctx := patient(t)
				key := placed(t, c, 1, 2)
				first := outside(ctx, t, c, "first", 1, 2)
				l, err := first.Acquire(ctx, key)
				must(t, err)
				c.Kill(0)
				must(t, c.Wipe(0))
				if apart {
					c.Split([]int{0}, []int{1, 2})
				}
				must(t, c.Restart(ctx, 0))
				second := dial(ctx, t, c, "second", 0)
				trying, cancel := context.WithTimeout(ctx, 5*sceneLease)
				defer cancel()
				if twice, err := second.Acquire(trying, key, client.Wait(4*sceneLease)); err == nil {
					t.Errorf("%s: %v is granted to the second client with token %v while the first has %v", cluster.OneHolder, key, twice.Token(), l.Token())
				}
				if words := []string{"WARN", "no cluster is founded", "n1:7946", "n2:7946"}; apart && len(log.lines(words...)) == 0 {
					t.Errorf("the log of the node has no line with %q", words)
				}
				c.Heal()
				until(ctx, t, "the wiped node has joined", func() bool { return len(members(c, 1)) == 3 && c.Node(0).Ready() == nil })
				words := []string{"WARN", "no cluster is founded", "a mesh lives already", "node n1 at " + c.Addrs(1).Peer, "node n2 at " + c.Addrs(2).Peer}
				if len(log.lines(words...)) == 0 {
					t.Errorf("the log of the node has no line with %q", words)
				}
			})
		})
	}
}

// V0: with the data directory of a mesh --found has no effect, which is logged once.
func TestSimFoundIsIgnored(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		c, log := founders(t)
		ctx := patient(t)
		const line = "--found is ignored"
		if got := log.lines(line); len(got) != 0 {
			t.Errorf("an empty node says %q", got)
		}
		for i := range c.Len() {
			c.Kill(i)
		}
		for i := range c.Len() {
			must(t, c.Restart(ctx, i))
		}
		must(t, c.WaitMembers(ctx, 3))
		if got := log.lines(line); len(got) != 1 {
			t.Errorf("a node of a mesh says %q, want one line", got)
		}
		for i := range c.Len() {
			if got, want := c.Node(i).Status().Epoch, c.Epoch(); got != want {
				t.Errorf("node %d is in view %d of %d", i, got, want)
			}
		}
	})
}

// V0: without other seeds --found asks nobody, and logs the risk.
func TestSimFoundAlone(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		var log logText
		c := cluster.Start(inRAM(t), cluster.Options{
			Net: cluster.Memory, Nodes: 1, Timing: sceneLease,
			Configure: func(_ int, cfg *mesh.Config) {
				cfg.Seeds, cfg.Found = nil, true
				cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
			},
		})
		if got := log.lines("WARN", "without asking other nodes"); len(got) != 1 {
			t.Errorf("its log has %d warnings, want one", len(got))
		}
		must(t, c.WaitReady(limited(t)))
	})
}

// V0: with --found and one seed, which is empty, a node that is not that seed founds a mesh. The
// seed has promised to follow it.
func TestSimFoundBesideAnEmptySeed(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		c := cluster.Start(inRAM(t), cluster.Options{
			Net: cluster.Memory, Nodes: 2, Timing: sceneLease,
			Configure: func(i int, cfg *mesh.Config) {
				cfg.Seeds, cfg.Found = cfg.Seeds[:1], i == 1
			},
		})
		must(t, c.WaitMembers(limited(t), 2))
		if v := members(c, 0); v[0] != "n1" {
			t.Errorf("the members are %v, want n1 to be the first", v)
		}
	})
}

// V0: nodes that were all started with --found, and whose seeds are the other nodes, become one
// mesh. None of them has promised to follow itself, which would separate it for ever.
func TestSimFoundersNameEachOther(t *testing.T) {
	for nodes := 2; nodes <= 4; nodes++ {
		t.Run(strconv.Itoa(nodes), func(t *testing.T) {
			virtual.Test(t, func(t *testing.T) {
				c := cluster.Start(inRAM(t), cluster.Options{
					Net: cluster.Memory, Nodes: nodes, Timing: sceneLease,
					Configure: func(i int, cfg *mesh.Config) {
						if len(cfg.Seeds) == nodes {
							cfg.Seeds = slices.Delete(slices.Clone(cfg.Seeds), i, i+1)
						}
						cfg.Found = true
					},
				})
				must(t, c.WaitMembers(limited(t), nodes))
				for i := range c.Len() {
					if got, want := c.Node(i).Status().Epoch, c.Epoch(); got != want {
						t.Errorf("node %d is in view %d of %d", i, got, want)
					}
				}
			})
		})
	}
}
