package cluster_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/cluster"
	"github.com/sgkandale/sharelock/internal/virtual"
	"github.com/sgkandale/sharelock/mesh"
)

// disks is a mesh whose nodes' disks can be full.
type disks struct {
	*cluster.Cluster
	full [5]atomic.Bool
	logs [5]logText
}

func withDisks(t *testing.T, nodes int) *disks {
	t.Helper()
	d := &disks{}
	d.Cluster = cluster.Start(inRAM(t), cluster.Options{
		Net: cluster.Memory, Nodes: nodes, Timing: sceneLease, MaxTTL: sceneMax,
		Configure: func(i int, cfg *mesh.Config) {
			copies(2)(i, cfg)
			cfg.Logger = slog.New(slog.NewTextHandler(&d.logs[i], nil))
			cfg.Hooks.Disk = func() error {
				if d.full[i].Load() {
					return errors.New("no space left on device")
				}
				return nil
			}
		},
	})
	return d
}

// voters returns the nodes with a seat, and one without.
func (d *disks) voters(t *testing.T) (seated []int, other int) {
	t.Helper()
	other = -1
	for i := range d.Len() {
		if d.seated(0, i) {
			seated = append(seated, i)
		} else {
			other = i
		}
	}
	return seated, other
}

// leads reports whether node i is the leader, as node 0 sees it.
func (d *disks) leads(i int) bool { return d.Node(0).Status().Leader == d.Node(i).Status().Node }

// seated reports whether node i has a seat, as node at sees it.
func (d *disks) seated(at, i int) bool {
	return slices.ContainsFunc(d.Node(at).Status().Members, func(m sharelock.Member) bool { return m.Name == d.Node(i).Status().Node && m.Voter })
}

// The disk of a voter is full. It reports that and keeps its lease, and its seat goes to the member
// without one. Then the mesh survives the loss of another voter. When the disk works again, the
// node can vote again (V1).
func TestSimFullDisk(t *testing.T) {
	for _, leads := range []bool{false, true} {
		t.Run(map[bool]string{false: "a voter", true: "the leader"}[leads], func(t *testing.T) {
			virtual.Test(t, func(t *testing.T) {
				d := withDisks(t, 4)
				ctx := patient(t)
				until(ctx, t, "three have seats", func() bool { return len(d.Node(0).Status().Seats) == 3 && d.Node(0).Status().Leader != "" })
				seated, other := d.voters(t)
				full := seated[slices.IndexFunc(seated, func(i int) bool { return d.leads(i) == leads })]
				d.full[full].Store(true)
				stop := never(t, "a node lost its lease", func() bool { return d.Node(full).Ready() != nil })
				until(ctx, t, "the seat has moved", func() bool { return d.seated(other, other) && !d.seated(other, full) })
				stop()
				if got := d.Node(full).Status().DiskError; got == "" {
					t.Error("the node does not say that its disk has failed")
				}
				said := func() int { return len(d.logs[full].lines("ERROR", "does not vote")) }
				until(ctx, t, "the log says that the disk has failed", func() bool { return said() > 0 }) // it looks once a second
				if said() != 1 {
					t.Error("the log does not say once that the disk has failed")
				}

				lost := seated[slices.IndexFunc(seated, func(i int) bool { return i != full })]
				d.Kill(lost)
				until(ctx, t, "the loss of another voter is survived", func() bool { return len(members(d.Cluster, other)) == 3 })
				cl := outside(ctx, t, d.Cluster, "client", full)
				l, err := cl.Acquire(ctx, placed(t, d.Cluster, full, other))
				must(t, err)
				must(t, l.Release(ctx))

				d.full[full].Store(false)
				until(ctx, t, "its vote is back", func() bool {
					return d.Node(full).Status().DiskError == "" && d.seated(other, full)
				})
			})
		})
	}
}

// Without a member that can take the seat, the node keeps it. An election in which it cannot vote
// does not end the node, and its vote counts again when its disk works.
func TestSimFullDiskOfThree(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		d := withDisks(t, 3)
		ctx := patient(t)
		until(ctx, t, "three have seats", func() bool { return len(d.Node(0).Status().Seats) == 3 && d.Node(0).Status().Leader != "" })
		leader := slices.IndexFunc([]int{0, 1, 2}, d.leads)
		full, third := (leader+1)%3, (leader+2)%3
		d.full[full].Store(true)
		until(ctx, t, "it says so", func() bool { return d.Node(full).Status().DiskError != "" })
		pause(ctx, 10*sceneLease)
		if !d.seated(leader, full) || d.Node(full).Ready() != nil {
			t.Errorf("seated: %v, ready: %v", d.seated(leader, full), d.Node(full).Ready())
		}
		d.Kill(leader)
		until(ctx, t, "one vote of three is left", func() bool { return d.Node(third).Ready() != nil })
		pause(ctx, 10*sceneLease)
		if err := d.Node(full).Err(); err != nil || d.Node(full).Ready() == nil || d.Node(third).Ready() == nil {
			t.Errorf("one vote of three is enough: %v, %v, %v", err, d.Node(full).Ready(), d.Node(third).Ready())
		}
		d.full[full].Store(false)
		until(ctx, t, "two votes of three are", func() bool { return d.Node(full).Ready() == nil && d.Node(third).Ready() == nil })
		must(t, d.Restart(ctx, leader))
		must(t, d.WaitMembers(ctx, 3))

		// A node whose disk is full can be stopped, although no view can be made that removes it. The
		// leader may be the third node: it stays the leader, because nobody else can be elected.
		d.full[full].Store(true)
		d.Kill(leader)
		pause(ctx, 5*sceneLease)
		ending, cancel := context.WithTimeout(ctx, 3*sceneLease)
		defer cancel()
		_ = d.Stop(ending, full) // no view can remove it
	})
}
