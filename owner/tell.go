package owner

import (
	"context"
	"sync"
	"time"

	"github.com/sgkandale/sharelock/internal/wake"
	"github.com/sgkandale/sharelock/ring"
)

// A teller tells one member which partitions are active (G1), until the member has confirmed all.
type teller struct {
	a      *activation
	member ring.Member
	wake   wake.Signal

	mu    sync.Mutex
	added []uint32 // guarded by mu
}

// add queues partitions of which the member is to be told.
func (t *teller) add(partitions []uint32) {
	t.mu.Lock()
	t.added = append(t.added, partitions...)
	t.mu.Unlock()
	t.wake.Set()
}

// run tells the member until it has confirmed all partitions, or a newer view has come.
func (t *teller) run(ctx context.Context) {
	for told := 0; told < len(t.a.owned) && ctx.Err() == nil; {
		list := t.take(ctx, len(t.a.owned)-told)
		if len(list) == 0 {
			continue
		}
		t.a.repeat(ctx, "active", t.member, func() error {
			return t.a.service.peers.Active(ctx, t.member, t.a.epoch, list)
		})
		told += len(list)
	}
}

// take returns the partitions to tell of: all that are left, or those that are active headStart
// after the call. The others may be stuck.
func (t *teller) take(ctx context.Context, left int) (list []uint32) {
	moment := time.NewTimer(headStart)
	defer moment.Stop()
	for {
		t.mu.Lock()
		list = append(list, t.added...)
		t.added = nil
		t.mu.Unlock()
		if len(list) == left {
			return list
		}
		select {
		case <-t.wake:
		case <-moment.C:
			return list
		case <-ctx.Done():
			return nil
		}
	}
}
