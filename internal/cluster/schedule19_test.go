package cluster_test

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/sgkandale/sharelock/client"
	"github.com/sgkandale/sharelock/internal/cluster"
	"github.com/sgkandale/sharelock/internal/release"
	"github.com/sgkandale/sharelock/internal/virtual"
	"github.com/sgkandale/sharelock/mesh"
	"github.com/sgkandale/sharelock/mesh/link"
	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
)

// Schedule 19: two releases. TestProcessesTwoReleases of cmd/sharelock runs real programs of two
// releases.

// renumber wraps the frames of a link to addr. If that is the target, the first op in each frame gets
// a kind that no release has.
type renumber struct {
	link.Frames
	addr   string
	target *atomic.Pointer[string]
}

// Send implements link.Frames.
func (r renumber) Send(frame []byte) error {
	var m peerv1.LinkRequest
	if to := r.target.Load(); to != nil && *to == r.addr && proto.Unmarshal(frame, &m) == nil && len(m.GetEntries()) > 0 {
		for _, e := range m.GetEntries() {
			e.Ops[0] = 200
		}
		frame, _ = proto.Marshal(&m)
	}
	return r.Frames.Send(frame)
}

// A backup that gets an unknown op (W3) hands over what it has and ends with an error. The owner's op
// counts without it, nobody loses a lock, and the other nodes continue.
func TestSchedule19UnknownOp(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		const owner, backup, third = 0, 1, 2
		var target atomic.Pointer[string]
		c := cluster.Start(inRAM(t), cluster.Options{
			Net: cluster.Memory, Nodes: 3, Timing: sceneLease, MaxTTL: sceneMax,
			Configure: func(i int, cfg *mesh.Config) {
				copies(2)(i, cfg)
				inner := cfg.Hooks.Links
				if i == owner {
					cfg.Hooks.Links = func(addr string, f link.Frames) link.Frames { return renumber{inner(addr, f), addr, &target} }
				}
			},
		})
		ctx := patient(t)
		key := placed(t, c, owner, backup)
		cl := outside(ctx, t, c, "c1", third)
		var held []*client.Lock
		for _, k := range keysNamed("held", 60) {
			l, err := cl.Acquire(ctx, k, client.TTL(sceneTTL))
			must(t, err)
			held = append(held, l)
		}
		b := c.Node(backup)
		addr := c.Addrs(backup).Peer
		target.Store(&addr)
		l, err := cl.Acquire(ctx, key, client.TTL(sceneTTL), client.Wait(time.Minute))
		must(t, err)
		select {
		case <-b.Done():
		case <-ctx.Done():
			t.Fatal("the backup goes on")
		}
		if err := b.Err(); !errors.Is(err, release.ErrUnknown) {
			t.Errorf("the backup ended because %v", err)
		}
		c.Kill(backup)
		must(t, c.WaitMembers(ctx, 2))
		for _, i := range []int{owner, third} {
			if st := c.Node(i).Status(); st.Quarantined > 0 {
				t.Errorf("node %d has %d partitions in quarantine", i, st.Quarantined)
			}
		}
		for _, h := range append(held, l) {
			if check, err := cl.CheckToken(ctx, h.Key(), h.Token()); err != nil || !check.Current || h.Err() != nil {
				t.Errorf("lock %s is lost: %v, %v", h.Key(), err, h.Err())
			}
			must(t, h.Release(ctx))
		}
	})
}

// A rolling upgrade, in which one node goes back before the mesh's release has risen, because
// another node holds the release. Later, going back is refused: by the node's directory or, if that is
// empty, by the mesh (W1, W2).
func TestSchedule19RollingUpgrade(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		programs := []version{{release: oldRelease}, {release: oldRelease}, {release: oldRelease}}
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
		restart := func(i int, p version) {
			t.Helper()
			must(t, c.Stop(ctx, i))
			programs[i] = p
			must(t, c.Restart(ctx, i))
			must(t, c.WaitReady(ctx))
		}
		wantRelease := func(want uint32) {
			t.Helper()
			for i := range programs {
				if got := c.Node(i).Status().Release; got != want {
					t.Errorf("node %d acts in a view of release %d, want %d", i, got, want)
				}
			}
			must(t, v.watch())
		}
		cl := outside(ctx, t, c, "c1", 0, 1, 2)
		var held []*client.Lock
		for _, k := range keysNamed("held", 40) {
			l, err := cl.Acquire(ctx, k, client.TTL(sceneTTL))
			must(t, err)
			held = append(held, l)
		}

		restart(0, version{release: newRelease, hold: oldRelease})
		restart(1, version{release: newRelease})
		restart(2, version{release: newRelease})
		restart(1, version{release: oldRelease}) // back to the older release
		restart(1, version{release: newRelease})
		pause(ctx, 10*sceneLease)
		wantRelease(oldRelease)
		restart(0, version{release: newRelease})
		until(ctx, t, "the release has risen", func() bool {
			for i := range programs {
				if c.Node(i).Status().Release != newRelease {
					return false
				}
			}
			return true
		})
		must(t, c.WaitReady(ctx))
		wantRelease(newRelease)

		must(t, c.Stop(ctx, 2))
		programs[2].release = oldRelease
		if err := c.Restart(ctx, 2); !errors.Is(err, release.ErrNewer) {
			t.Errorf("going back: %v, want %v", err, release.ErrNewer)
		}
		must(t, c.Wipe(2))
		must(t, c.Restart(ctx, 2))
		select {
		case <-c.Node(2).Done():
		case <-ctx.Done():
			t.Fatal("the older program, with an empty directory, is not refused")
		}
		if err := c.Node(2).Err(); !refusedForRelease(err) {
			t.Errorf("the older program has ended because %v", err)
		}
		c.Kill(2)
		must(t, c.Wipe(2))
		programs[2].release = newRelease
		must(t, c.Restart(ctx, 2))
		must(t, c.WaitMembers(ctx, 3))
		for _, l := range held {
			if err := l.Err(); err != nil {
				t.Errorf("lock %s is lost: %v", l.Key(), err)
			}
			must(t, l.Release(ctx))
		}
	})
}
