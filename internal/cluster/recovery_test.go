package cluster_test

import (
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/sgkandale/sharelock/client"
	"github.com/sgkandale/sharelock/internal/cluster"
	"github.com/sgkandale/sharelock/internal/virtual"
	"github.com/sgkandale/sharelock/mesh"
)

// Two of three nodes lose their data directories. The third one reports that and what can be done.
// With Recover it refuses while another node answers. Then it serves alone: every partition is in
// quarantine, and tokens are larger. The old directory of another member is refused, an empty one
// joins.
func TestSimRecovery(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		var recovers [3]bool // the starts of one node do not overlap
		var logs [3]logText
		var dirs [3]string
		c := cluster.Start(inRAM(t), cluster.Options{
			Net: cluster.Memory, Nodes: 3, Timing: sceneLease, MaxTTL: sceneMax,
			Configure: func(i int, cfg *mesh.Config) {
				copies(2)(i, cfg)
				cfg.Recover = recovers[i]
				dirs[i] = cfg.DataDir
				cfg.Logger = slog.New(slog.NewTextHandler(&logs[i], nil))
			},
		})
		ctx := patient(t)
		key := placed(t, c, 0, 1)
		first := outside(ctx, t, c, "first", 0)
		l, err := first.Acquire(ctx, key)
		must(t, err)
		for i := range 3 {
			c.Kill(i)
		}
		must(t, os.CopyFS(dirs[1]+"-kept", os.DirFS(dirs[1])))
		must(t, c.Wipe(1))
		must(t, c.Wipe(2))

		must(t, c.Restart(ctx, 0))
		until(ctx, t, "it says what is lost", func() bool {
			err := c.Node(0).Ready()
			return err != nil && strings.Contains(err.Error(), "2 of 3 voters do not answer") && strings.Contains(err.Error(), "--recover")
		})
		c.Kill(0)

		recovers[0] = true
		must(t, c.Restart(ctx, 2))
		if err := c.Restart(ctx, 0); err == nil || !strings.Contains(err.Error(), "node n2 (") && !strings.Contains(err.Error(), "seed n2") {
			t.Fatalf("recovery beside a node that answers: %v", err)
		}
		c.Kill(2)
		must(t, c.Restart(ctx, 0))
		recovers[0] = false
		until(ctx, t, "it serves", func() bool { return c.Node(0).Ready() == nil })
		if st := c.Node(0).Status(); st.Quarantined != st.Partitions || len(st.Members) != 1 || len(st.Seats) != 1 {
			t.Errorf("%d of %d partitions are in quarantine; members %v, seats %v", st.Quarantined, st.Partitions, st.Members, st.Seats)
		}
		began := time.Now()
		second := outside(ctx, t, c, "second", 0)
		again, err := second.Acquire(ctx, key, client.Wait(10*sceneMax))
		must(t, err)
		if waited := time.Since(began); waited < sceneMax {
			t.Errorf("granted %v after the recovery, in the quarantine", waited)
		}
		if again.Token() <= l.Token() {
			t.Errorf("token %d after %d", again.Token(), l.Token())
		}
		if check, err := second.CheckToken(ctx, key, l.Token()); err != nil || check.Current {
			t.Errorf("the old token: %+v, %v", check, err)
		}

		must(t, os.CopyFS(dirs[1], os.DirFS(dirs[1]+"-kept")))
		must(t, c.Restart(ctx, 1))
		until(ctx, t, "the old directory is refused", func() bool {
			err := c.Node(1).Err()
			return err != nil && strings.Contains(err.Error(), "empty it and start again to join as a new member")
		})
		c.Kill(1)
		must(t, c.Wipe(1))
		must(t, c.Restart(ctx, 1))
		must(t, c.Restart(ctx, 2))
		until(ctx, t, "three are one mesh", func() bool {
			return len(members(c, 0)) == 3 && c.Node(1).Ready() == nil && c.Node(2).Ready() == nil && len(c.Node(0).Status().Seats) == 3
		})
	})
}
