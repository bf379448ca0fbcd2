package testcluster_test

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/sgkandale/sharelock/client"
	"github.com/sgkandale/sharelock/internal/release"
	"github.com/sgkandale/sharelock/mesh"
	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
	"github.com/sgkandale/sharelock/testcluster"
	"github.com/sgkandale/sharelock/testcluster/virtual"
)

// Schedule 19: two releases. With real programs they meet in TestProcessesTwoReleases of
// cmd/sharelock.

// renumber are the frames of a link to addr. If that is the target, the first op in each
// frame becomes one of a kind that no release has.
type renumber struct {
	mesh.Frames
	addr   string
	target *atomic.Pointer[string]
}

// Send implements mesh.Frames.
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

// A backup that gets an op it does not know (W3) hands over what it has and ends with an
// error. The owner's op counts without it, nobody loses a lock, and the others go on.
func TestSchedule19UnknownOp(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		const owner, backup, third = 0, 1, 2
		var target atomic.Pointer[string]
		c := testcluster.Start(inRAM(t), testcluster.Options{
			Net: testcluster.Memory, Nodes: 3, Timing: sceneLease, MaxTTL: sceneMax,
			Configure: func(i int, cfg *mesh.Config) {
				copies(2)(i, cfg)
				inner := cfg.Links
				if i == owner {
					cfg.Links = func(addr string, f mesh.Frames) mesh.Frames { return renumber{inner(addr, f), addr, &target} }
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
