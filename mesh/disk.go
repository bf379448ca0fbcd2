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
	for turn := 0; ; turn++ {
		timer := time.NewTimer(n.lease())
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
		if n.agree.DiskError() != nil || turn%diskEvery == 0 {
			_ = n.agree.Probe() // DiskError has the result, and the conditions say it
		}
	}
}
