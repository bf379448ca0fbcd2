package cluster_test

import (
	"log/slog"
	"testing"
	"time"

	"github.com/sgkandale/sharelock/internal/cluster"
	"github.com/sgkandale/sharelock/internal/virtual"
	"github.com/sgkandale/sharelock/mesh"
)

// V4: a node whose configuration names another lease than the mesh's uses the mesh's, also in its first
// run. As the leader it tolerates silence for as long as any other node, and its elections start as soon.
func TestSimJoinerWithAnotherLease(t *testing.T) {
	for _, configured := range []time.Duration{200 * time.Millisecond, 10 * time.Second} {
		t.Run(configured.String(), func(t *testing.T) {
			virtual.Test(t, func(t *testing.T) {
				const odd = 2
				var log logText
				c := cluster.Start(inRAM(t), cluster.Options{
					Net: cluster.Memory, Nodes: 3, Timing: sceneLease, MaxTTL: sceneMax,
					Configure: func(i int, cfg *mesh.Config) {
						if i == odd {
							cfg.Lease = configured
							cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
						}
					},
				})
				ctx := patient(t)
				must(t, c.WaitMembers(ctx, 3))
				// Kill and restart the leader until the node with the other lease is the leader.
				for c.Leader() != odd {
					i := c.Leader()
					c.Kill(i)
					begin := time.Now()
					must(t, c.WaitAmong(waitAtMost(ctx, t, 10*sceneLease), others(c, i)...))
					if took, most := time.Since(begin), 3*sceneLease; took > most {
						t.Errorf("the others are a mesh %v after the leader's end, want %v", took, most)
					}
					must(t, c.Restart(ctx, i))
					must(t, c.WaitMembers(ctx, 3))
				}
				epoch := c.Epoch()
				for _, i := range others(c, odd) {
					c.Delay(i, odd, sceneLease/25)
					c.Delay(odd, i, sceneLease/25)
				}
				pause(ctx, 15*sceneLease)
				if now := c.Leader(); now != odd || c.Epoch() != epoch {
					t.Errorf("with round trips of %v node %d leads, and the view changed from %d to %d", 2*sceneLease/25, now, epoch, c.Epoch())
				}
				if got := log.lines("no longer the leader"); len(got) > 0 {
					t.Errorf("it led with interruptions: %v", got)
				}
				if got := log.lines("raft keeps the timeouts"); len(got) > 0 {
					t.Errorf("its timeouts are not the mesh's: %v", got)
				}
			})
		})
	}
}
