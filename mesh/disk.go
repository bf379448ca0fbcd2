package mesh

import (
	"context"
	"time"
)

// diskEvery is in how many leases the disk is tried once.
const diskEvery = 5

// watchDisk notices that Raft's records cannot be written, and that they can again: the
// process does not vote meanwhile, says so in its renewals, and goes on as an owner and a
// backup (V1).
func (n *Node) watchDisk(ctx context.Context) {
	if n.data.Volatile() {
		return
	}
	failing := false
	for turn := 0; ; turn++ {
		timer := time.NewTimer(n.lease())
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
		err := n.agree.DiskError()
		if err != nil || turn%diskEvery == 0 {
			err = n.agree.Probe()
		}
		if ctx.Err() != nil || failing == (err != nil) {
			continue
		}
		failing = err != nil
		if failing {
			n.log.Error("the data directory cannot be written, so this node does not vote until it can: is the disk full?", "path", n.data.Path(), "error", err)
		} else {
			n.log.Info("the data directory can be written again", "path", n.data.Path())
		}
	}
}
