package cluster_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sgkandale/sharelock/internal/cluster"
	"github.com/sgkandale/sharelock/internal/virtual"
	"github.com/sgkandale/sharelock/mesh"
)

// In a new mesh whose nodes have the same name, one of them serves. The others end with the reason, as
// in a running mesh.
func TestSimOneNameInAFreshMesh(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		defer pause(t.Context(), time.Minute) // memberlist's probes end later than memberlist
		var logs [3]logText
		c, err := cluster.New(shortly(t), cluster.Options{
			Net: cluster.Memory, Nodes: 3, Timing: sceneLease, MaxTTL: sceneMax,
			Configure: func(i int, cfg *mesh.Config) {
				copies(2)(i, cfg)
				cfg.Name, cfg.Logger = "same", slog.New(slog.NewTextHandler(&logs[i], nil))
			},
		})
		if err == nil {
			must(t, c.Close())
			t.Fatal("three nodes of one name are a whole mesh")
		}
		refused := 0
		for i := range logs {
			if len(logs[i].lines("ERROR", "node.name", "is used by the live member")) > 0 {
				refused++
			}
		}
		if refused != 2 {
			t.Errorf("%d nodes say that their name is taken, want 2:\n%v", refused, err)
		}
	})
}

func shortly(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// A copy of a member's data directory is started elsewhere. It is refused as long as the member
// renews. Both log it with both addresses, and the member continues to serve (V3).
func TestSimDirectoryInUseTwice(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		const real = 1
		var dirs [4]string
		var logs [4]logText
		c := cluster.Start(inRAM(t), cluster.Options{
			Net: cluster.Memory, Nodes: 3, Timing: sceneLease, MaxTTL: sceneMax,
			Configure: func(i int, cfg *mesh.Config) {
				copies(2)(i, cfg)
				if i == 3 {
					cfg.DataDir = cfg.DataDir + "-copy"
					must(t, os.CopyFS(cfg.DataDir, os.DirFS(dirs[real])))
				}
				dirs[i] = cfg.DataDir
				cfg.Logger = slog.New(slog.NewTextHandler(&logs[i], nil))
			},
		})
		ctx := patient(t)
		before := c.Node(real).Status()
		stop := never(t, "the member lost its lease", func() bool { return c.Node(real).Ready() != nil })
		double, err := c.Add(ctx)
		must(t, err)
		pause(ctx, 20*time.Second)
		stop()
		if c.Node(double).Ready() == nil {
			t.Error("the copy is a member")
		}
		if c.Node(double).Err() != nil {
			t.Errorf("the copy has ended: %v", c.Node(double).Err())
		}
		words := []string{"ERROR", "in use twice", c.Addrs(real).Peer, c.Addrs(double).Peer}
		for _, i := range []int{real, double} {
			if len(logs[i].lines(words...)) == 0 {
				t.Errorf("the log of node %d has no line with %q", i, words)
			}
		}
		if got := c.Node(real).Status(); got.Epoch != before.Epoch {
			t.Errorf("the view has changed: epoch %d, then %d", before.Epoch, got.Epoch)
		}
		// When the member is dead, the copy takes its place.
		c.Kill(real)
		until(ctx, t, "the copy is a member", func() bool { return c.Node(double).Ready() == nil })
	})
}

// A copy of a data directory, new or from before its member's last starts, is started again and
// again by its supervisor while the member, which may be the leader, renews. Nobody loses its lease, no
// view changes, and both log an ERROR that says where the other one is (V3).
func TestSimDirectoryCopies(t *testing.T) {
	for _, leads := range []bool{false, true} {
		for starts := range 3 {
			t.Run(fmt.Sprintf("leads: %t, %d starts after the copy", leads, starts), func(t *testing.T) {
				virtual.Test(t, func(t *testing.T) { directoryCopy(t, leads, starts) })
			})
		}
	}
}

func directoryCopy(t *testing.T, leads bool, starts int) {
	real := 0
	var dirs [4]string
	var logs [4]logText
	c := cluster.Start(inRAM(t), cluster.Options{
		Net: cluster.Memory, Nodes: 3, Timing: sceneLease, MaxTTL: sceneMax,
		Configure: func(i int, cfg *mesh.Config) {
			copies(2)(i, cfg)
			if i == 3 {
				cfg.DataDir = dirs[real] + "-copy"
			}
			dirs[i] = cfg.DataDir
			cfg.Logger = slog.New(slog.NewTextHandler(&logs[i], nil))
		},
	})
	ctx := patient(t)
	if real = c.Leader(); !leads {
		real = others(c, real)[0]
	}
	restart := func(i int) {
		must(t, c.Stop(ctx, i))
		must(t, c.Restart(ctx, i))
		must(t, c.WaitReady(ctx))
	}
	must(t, os.CopyFS(dirs[real]+"-copy", os.DirFS(dirs[real])))
	for range starts {
		restart(real)
	}
	for leads && c.Leader() != real {
		restart(c.Leader())
	}
	epoch := c.Epoch()
	stop := never(t, "a member lost its lease", func() bool {
		return slices.ContainsFunc([]int{0, 1, 2}, func(i int) bool { return c.Node(i).Ready() != nil })
	})
	double, err := c.Add(ctx)
	must(t, err)
	for range 4 {
		pause(ctx, 3*sceneLease)
		words := []string{"ERROR", "in use twice", c.Addrs(real).Peer, c.Addrs(double).Peer}
		for _, i := range []int{real, double} {
			if len(logs[i].lines(words...)) == 0 {
				t.Errorf("the log of node %d has no line with %q", i, words)
			}
		}
		c.Kill(double)
		must(t, c.Restart(ctx, double))
	}
	stop()
	if now := c.Epoch(); now != epoch {
		t.Errorf("the view has changed: epoch %d, then %d", epoch, now)
	}
}

// A copy of a member's data directory takes the member's place while that is down, keeps crashing,
// and disappears in the end. The original is then a member within a few leases: the back-off of V3
// keeps out the copy, but not the original.
func TestSimDirectoryCopyIsGone(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		const real = 1
		var dirs [4]string
		c := cluster.Start(inRAM(t), cluster.Options{
			Net: cluster.Memory, Nodes: 3, Timing: sceneLease, MaxTTL: sceneMax,
			Configure: func(i int, cfg *mesh.Config) {
				copies(2)(i, cfg)
				if i == 3 {
					cfg.DataDir += "-copy"
					if _, err := os.Stat(cfg.DataDir); err != nil {
						must(t, os.CopyFS(cfg.DataDir, os.DirFS(dirs[real])))
					}
				}
				dirs[i] = cfg.DataDir
			},
		})
		ctx := patient(t)
		c.Kill(real)
		double, err := c.Add(ctx)
		must(t, err)
		keptOut := false
		for range 6 {
			until(ctx, t, "the copy is a member", func() bool {
				err := c.Node(double).Ready()
				keptOut = keptOut || err != nil && strings.Contains(err.Error(), "keeps coming and going")
				return err == nil
			})
			c.Kill(double)
			must(t, c.Restart(ctx, double))
		}
		c.Kill(double)
		if !keptOut {
			t.Error("the copy was never told why it is kept out")
		}
		pause(ctx, 2*sceneLease) // while the copy is still a member, a process with an earlier start ends
		must(t, c.Restart(ctx, real))
		took := until(ctx, t, "the original is a member", func() bool { return c.Node(real).Ready() == nil })
		if took > 3*sceneLease {
			t.Errorf("the original was a member after %v", took)
		}
	})
}
