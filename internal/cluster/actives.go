package cluster

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"google.golang.org/grpc/metadata"

	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
)

// keptEpochs is how many epochs actives remembers.
const keptEpochs = 64

// actives checks OneOwner. An owner tells all members when a partition is active (G1), and
// only one process may do so for a partition in an epoch.
type actives struct {
	mu sync.Mutex
	// owners holds the identity of the active owner by epoch and partition. order lists the
	// epochs in the order in which they were first seen. Both are guarded by mu.
	owners map[uint32]map[uint32]string
	order  []uint32
	err    *ViolationError // the first violation; guarded by mu
	// broken is called with the first violation.
	broken func(*ViolationError)
}

func newActives(broken func(*ViolationError)) *actives {
	return &actives{owners: map[uint32]map[uint32]string{}, broken: broken}
}

// saw examines a call that one member makes to another.
func (a *actives) saw(ctx context.Context, req any) {
	r, ok := req.(*peerv1.ActiveRequest)
	if !ok {
		return
	}
	md, _ := metadata.FromOutgoingContext(ctx)
	who := strings.Join(md.Get("sl-from"), "")
	a.mu.Lock()
	defer a.mu.Unlock()
	epoch := r.GetEpoch()
	if a.owners[epoch] == nil {
		a.owners[epoch] = map[uint32]string{}
		if a.order = append(a.order, epoch); len(a.order) > keptEpochs {
			delete(a.owners, a.order[0])
			a.order = a.order[1:]
		}
	}
	for _, p := range r.GetPartitions() {
		old, ok := a.owners[epoch][p]
		a.owners[epoch][p] = who
		if ok && old != who && a.err == nil {
			a.err = &ViolationError{OneOwner, fmt.Sprintf("%s and %s are active in partition %d in epoch %d", old, who, p, epoch)}
			a.broken(a.err)
		}
	}
}

func (a *actives) violation() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.err == nil {
		return nil
	}
	return a.err
}
