package mesh

import (
	"context"
	"time"
)

// diskEvery is in how many leases the disk is tried once.
const diskEvery = 5

// A diskProber writes to the disk of Raft's records; a *view.Raft is one.
type diskProber interface {
	// DiskError returns why nothing can be written, or nil. Probe tries.
	DiskError() error
	Probe() error
}

// watchDisk notices that Raft's records cannot be written, and that they can again: the
// process does not vote meanwhile, says so in its renewals, and goes on as an owner and a
// backup (V1).
func watchDisk(ctx context.Context, raft diskProber, lease func() time.Duration) {
	for turn := 0; ; turn++ {
		timer := time.NewTimer(lease())
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
		if raft.DiskError() != nil || turn%diskEvery == 0 {
			_ = raft.Probe() // DiskError has the result, and the conditions say it
		}
	}
}
