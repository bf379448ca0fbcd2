package cluster_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sgkandale/sharelock/client"
	"github.com/sgkandale/sharelock/internal/cluster"
	"github.com/sgkandale/sharelock/internal/invariant"
	"github.com/sgkandale/sharelock/internal/virtual"
	"github.com/sgkandale/sharelock/mesh"
)

// logText is the text of a node's log.
type logText struct {
	mu   sync.Mutex
	text bytes.Buffer // guarded by mu
}

func (l *logText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// lines returns the lines that contain all of the words.
func (l *logText) lines(words ...string) (found []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
next:
	for line := range strings.Lines(l.text.String()) {
		for _, w := range words {
			if !strings.Contains(line, w) {
				continue next
			}
		}
		found = append(found, line)
	}
	return found
}

// undiallable starts a mesh of three with a deaf node, waits until it is removed, and continues for a
// while with a client at work. It fails if the mesh does anything about that node other than removing
// it once.
func undiallable(t *testing.T, long time.Duration, deafen func(c *cluster.Cluster, deaf int)) {
	t.Helper()
	const deaf = 2
	var log logText
	c := cluster.Start(inRAM(t), cluster.Options{
		Net: cluster.Memory, Nodes: 3, Timing: sceneLease, MaxTTL: sceneMax,
		Configure: func(i int, cfg *mesh.Config) {
			copies(2)(i, cfg)
			if i == deaf {
				cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
			}
		},
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	cl := outside(ctx, t, c, "c1", 0, 1)
	// work acquires and releases one key after the other, and returns the longest time for one of them.
	keys := keysNamed("k", 100)
	work := func(ctx context.Context, long time.Duration) (slowest time.Duration) {
		begin := time.Now()
		for i := 0; ctx.Err() == nil && time.Since(begin) < long; i++ {
			asked := time.Now()
			if l, err := cl.Acquire(ctx, keys[i%len(keys)], client.Wait(time.Minute)); err == nil {
				_ = l.Release(ctx)
			} else if ctx.Err() == nil {
				t.Error(err)
			}
			slowest = max(slowest, time.Since(asked))
			pause(ctx, 100*time.Millisecond)
		}
		return slowest
	}
	removal, removed := context.WithCancel(ctx)
	defer removed()
	var worker sync.WaitGroup
	worker.Go(func() { work(removal, time.Hour) })
	deafen(c, deaf)
	// The first member that finds it deaf may be chosen in its place (V6), and returns at once.
	must(t, c.WaitAmong(waitAtMost(ctx, t, 7*sceneLease), 0, 1))
	removed()
	worker.Wait()
	epoch := c.Epoch()
	slowest := work(ctx, long)
	if now := c.Epoch(); now != epoch {
		t.Errorf("%s: views change from epoch %d to %d for a process that cannot be dialled", invariant.Quiet, epoch, now)
	}
	if slowest > 2*sceneLease { // the removal's activation may be in progress
		t.Errorf("%s: a lock took %v beside a process that cannot be dialled", invariant.Quiet, slowest)
	}
	addr := c.Addrs(deaf).Peer
	if err := c.Node(deaf).Ready(); err == nil || !strings.Contains(err.Error(), addr) || !strings.Contains(err.Error(), "cannot dial") {
		t.Errorf("readiness of the node that cannot be dialled says %v, want that %s cannot be dialled", err, addr)
	}
	if got := log.lines("WARN", "cannot dial this node", addr, "n0", "n1"); len(got) == 0 {
		t.Errorf("its log does not say that nobody can dial %s", addr)
	}
	if got := log.lines("cannot dial this node"); len(got) > 5 {
		t.Errorf("its log says so %d times", len(got))
	}
	c.Undeafen(deaf)
	must(t, c.WaitMembers(waitAtMost(ctx, t, 70*sceneLease), 3)) // its back-off ends, too
	must(t, c.WaitReady(ctx))
}

// V3: a process that can dial others but cannot be dialled restarts, and is not admitted.
func TestSimUndiallable(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		undiallable(t, calm(10*time.Minute), func(c *cluster.Cluster, deaf int) {
			c.Kill(deaf)
			c.Deafen(deaf)
			must(t, c.Restart(t.Context(), deaf))
		})
	})
}

// V6 removes a member of the view that can no longer be dialled, and V3 does not let it back in,
// although it could be dialled when it was first admitted.
func TestSimMemberBecomesUndiallable(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		undiallable(t, calm(2*time.Minute), func(c *cluster.Cluster, deaf int) { c.Deafen(deaf) })
	})
}

// (m) A single member and a joiner cannot dial each other, in one direction or both: the joiner stays
// out, no view changes meanwhile, and nothing is lost. It joins when the link is whole.
func TestSchedule16mOneMemberCannotDial(t *testing.T) {
	for member := range 3 { // node 0 is the leader
		for k, way := range []string{"wall", "wall back", "both"} {
			if sparse(3*member + k) {
				continue
			}
			t.Run(fmt.Sprintf("%d-3 %s", member, way), func(t *testing.T) {
				virtual.Test(t, func(t *testing.T) {
					c, ctx := scene(t, 4, 2), patient(t)
					role := roles(c)
					cl := outside(ctx, t, c, "holder")
					locks := holdMany(ctx, t, cl)
					joiner := role[3]
					must(t, c.Stop(ctx, joiner))
					must(t, c.WaitMembers(ctx, 3))
					for _, x := range waysToCut(member, 3)[way] {
						if x.wall {
							c.Wall(role[x.from], role[x.to])
						} else {
							c.Cut(role[x.from], role[x.to])
						}
					}
					epoch := c.Epoch()
					must(t, c.Restart(ctx, joiner))
					pause(ctx, 20*sceneLease)
					if now := c.Epoch(); now != epoch {
						t.Errorf("%s: the view changed from %d to %d", invariant.Quiet, epoch, now)
					}
					if err := c.Node(joiner).Ready(); err == nil || !strings.Contains(err.Error(), "not in the view") {
						t.Errorf("the joiner says %v", err)
					}
					c.Heal()
					must(t, c.WaitMembers(waitAtMost(ctx, t, 10*sceneLease), 4))
					wantKept(ctx, t, cl, locks)
				})
			})
		}
	}
}
