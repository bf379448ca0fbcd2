package cluster_test

import (
	"fmt"
	"testing"

	"github.com/sgkandale/sharelock/internal/cluster"
	"github.com/sgkandale/sharelock/internal/virtual"
	"github.com/sgkandale/sharelock/mesh"
)

// A member crashes, or leaves, at the moment at which the release of the view rises, while the copies
// that the older release has made are replaced by those of the newer one. No lock is lost.
func TestSchedule19LossAsTheReleaseRises(t *testing.T) {
	for gone := range 3 {
		for _, crash := range []bool{true, false} {
			t.Run(fmt.Sprintf("node %d, crash %t", gone, crash), func(t *testing.T) {
				virtual.Test(t, func(t *testing.T) { lossAsTheReleaseRises(t, gone, crash) })
			})
		}
	}
}

func lossAsTheReleaseRises(t *testing.T, gone int, crash bool) {
	programs := []version{{release: newRelease}, {release: newRelease}, {release: oldRelease}}
	v := &versions{on: true, nodes: programs}
	c := cluster.Start(inRAM(t), cluster.Options{
		Net: cluster.Memory, Nodes: 3, Timing: sceneLease, MaxTTL: sceneMax,
		Configure: func(i int, cfg *mesh.Config) {
			copies(2)(i, cfg)
			v.configure(i, cfg)
		},
	})
	v.c = c
	ctx := patient(t)
	cl := outside(ctx, t, c, "c1", 0, 1, 2)
	held := holdMany(ctx, t, cl)
	if got := c.Node(0).Status().Release; got != oldRelease {
		t.Fatalf("the view has release %d, want %d", got, oldRelease)
	}

	must(t, c.Stop(ctx, 2))
	programs[2].release = newRelease
	must(t, c.Restart(ctx, 2))
	until(ctx, t, "a view of the newer release is installed", func() bool {
		for i := range programs {
			if c.Node(i).Status().Release == newRelease {
				return true
			}
		}
		return false
	})
	if crash {
		c.Kill(gone)
	} else {
		must(t, c.Stop(ctx, gone))
	}
	must(t, c.WaitMembers(ctx, 2))
	wantKept(ctx, t, cl, held)
	must(t, c.Restart(ctx, gone))
	must(t, c.WaitMembers(ctx, 3))
	must(t, v.watch())
	wantKept(ctx, t, cl, held)
	for i := range programs {
		if st := c.Node(i).Status(); st.Release != newRelease || st.Quarantined > 0 {
			t.Errorf("node %d acts in a view of release %d, with %d partitions in quarantine", i, st.Release, st.Quarantined)
		}
	}
	for _, l := range held {
		must(t, l.Release(ctx))
	}
}
