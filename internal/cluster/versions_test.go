package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/sgkandale/sharelock/internal/cluster"
	"github.com/sgkandale/sharelock/internal/release"
	"github.com/sgkandale/sharelock/mesh"
)

// The releases that meet in one mesh. The newer program uses the additions of its release only in
// views of that release. Built with the tag release_next, it adds more than this program does.
const (
	oldRelease = newRelease - 1
	newRelease = release.Current
)

// versions holds the releases of the programs of a storm's nodes. During the storm, nodes are
// upgraded, go back, and hold the mesh's release or let it rise (W1). A node that goes back after the
// release has risen is refused (W2).
type versions struct {
	c   *cluster.Cluster
	rnd *rand.Rand
	on  bool
	// begin and end are those of the storm. In the course of it, more and more nodes are upgraded.
	begin, end time.Time
	nodes      []version
	// risen is set when a view of the new release was seen. refused counts the starts of the older
	// program that were refused.
	risen   bool
	refused int
}

// version is the program of one node.
type version struct {
	release, hold uint32
	// follows: this node was seen in a view of the new release and has kept its directory.
	follows bool
}

func newVersions(rnd *rand.Rand, nodes int, on bool) *versions {
	v := &versions{rnd: rnd, on: on, nodes: make([]version, nodes), begin: time.Now(), end: time.Now().Add(time.Minute)}
	for i := range v.nodes {
		v.choose(i)
	}
	return v
}

// configure sets the release of node i.
func (v *versions) configure(i int, cfg *mesh.Config) {
	if v.on {
		cfg.Hooks.Releases = release.Range{Oldest: oldRelease, Newest: v.nodes[i].release}
		cfg.HoldRelease = v.nodes[i].hold
	}
}

// choose decides which program node i starts next.
func (v *versions) choose(i int) {
	done := float64(time.Since(v.begin)) / float64(v.end.Sub(v.begin)+1)
	n := &v.nodes[i]
	n.release, n.hold = newRelease, 0
	if v.rnd.Float64() > 0.2+1.5*done || v.risen && v.rnd.IntN(8) == 0 {
		n.release = oldRelease
	}
	if done < 0.6 && v.rnd.IntN(4) == 0 {
		n.hold = oldRelease
	}
}

// newest makes node i start the newer program, which no mesh refuses.
func (v *versions) newest(i int) { v.nodes[i].release, v.nodes[i].hold = newRelease, 0 }

// restart starts node i with any program. If the older one is refused, it starts the newer one.
func (v *versions) restart(ctx context.Context, i int) error {
	v.choose(i)
	return v.start(ctx, i)
}

// start starts node i with the program that was chosen.
func (v *versions) start(ctx context.Context, i int) error {
	if !v.on {
		return v.c.Restart(ctx, i)
	}
	n := &v.nodes[i]
	err := v.c.Restart(ctx, i)
	if n.release == oldRelease {
		switch {
		case err == nil && n.follows:
			return fmt.Errorf("node %d went back to release %d after it had followed a view of release %d", i, oldRelease, newRelease)
		case errors.Is(err, release.ErrNewer):
			v.refused++
			v.newest(i)
			return v.c.Restart(ctx, i)
		}
	}
	return err
}

// wiped records that node i has lost its directory.
func (v *versions) wiped(i int) { v.nodes[i].follows = false }

// watch checks that no view has a release that one of its members does not support.
func (v *versions) watch() error {
	if !v.on {
		return nil
	}
	for i := range v.nodes {
		m := v.c.Node(i)
		if m == nil {
			continue
		}
		st := m.Status()
		if st.Release < newRelease {
			continue
		}
		v.risen, v.nodes[i].follows = true, true
		for _, member := range st.Members {
			if member.Release < st.Release {
				return fmt.Errorf("node %d is in view %d of release %d with %s, whose program is release %d", i, st.Epoch, st.Release, member.Name, member.Release)
			}
		}
		if v.nodes[i].release < st.Release {
			return fmt.Errorf("node %d, of release %d, acts in view %d of release %d", i, v.nodes[i].release, st.Epoch, st.Release)
		}
	}
	return nil
}

// mend starts the newer program on nodes whose older program has ended because the mesh's release has
// risen. A node must not end for any other reason.
func (v *versions) mend(ctx context.Context) error {
	if !v.on {
		return nil
	}
	for i := range v.nodes {
		m := v.c.Node(i)
		if m == nil {
			continue
		}
		select {
		case <-m.Done():
		default:
			continue
		}
		if err := m.Err(); v.nodes[i].release != oldRelease || !refusedForRelease(err) {
			return fmt.Errorf("node %d, of release %d, has ended: %w", i, v.nodes[i].release, err)
		}
		v.refused++
		v.c.Kill(i)
		v.newest(i)
		if err := v.c.Restart(ctx, i); err != nil {
			return err
		}
	}
	return nil
}

// refusedForRelease reports whether a program has ended because it is too old for the mesh.
func refusedForRelease(err error) bool {
	return errors.Is(err, release.ErrNewer) || err != nil && strings.Contains(err.Error(), "the releases do not fit")
}

// keep calls watch and mend until ctx ends.
func (v *versions) keep(ctx context.Context) error {
	for ctx.Err() == nil {
		if err := errors.Join(v.watch(), v.mend(ctx)); err != nil && ctx.Err() == nil {
			return err
		}
		pause(ctx, v.c.Timing()/4)
	}
	return nil
}
