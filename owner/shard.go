package owner

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/sgkandale/sharelock/internal/wake"
	"github.com/sgkandale/sharelock/owner/journal"
	"github.com/sgkandale/sharelock/owner/machine"
)

// A shard is a loop that owns a group of partitions. Everything about them happens in the shard's
// turn, which the loop or, in its stead, a caller of putInline has. So all requests for a partition
// are in one order.
type shard struct {
	service *Service
	// parts are this shard's partitions. Partition p is parts[p/shards].
	parts []*partition
	// epoch is that of the view that this shard has installed. It is behind Service.cur only while
	// a view is being installed.
	epoch uint32
	// release is that of the view.
	release uint32
	// dormant is the number of partitions that are owned and not active.
	dormant int
	// next is no later than the earliest deadline of any partition; hasNext is false if there is
	// no deadline.
	next    time.Duration
	hasNext bool
	// most is the largest number of entries that any step has touched, mostBytes that of bytes.
	most, mostBytes int
	// ticked is the index in parts of the partition with which tick begins.
	ticked int
	out    machine.Out
	// shortened is the request of a step whose wait was reduced by the time that it was parked.
	shortened Request
	// now is the time that is used in a batch: as of its beginning, or later.
	now time.Duration
	// chores is the work that is too much for one step. The loop does a part of it in each turn.
	chores []chore
	// ready are the answers that may leave at the end of the batch; touched are the partitions
	// with ops that have not been sent yet.
	ready   []machine.Reply
	touched []*partition
	outbox  outbox
	encoded opArena
	totals  Totals
	// traces is nil if requests are not traced.
	traces *traces
	// inline is set while a caller of putInline has the turn. Then alone is the caller of the only
	// answer, to be flushed after the turn.
	inline bool
	alone  Gatherer
	// pen records what is decided and applied; nil records nothing.
	pen *journal.Pen

	// turn is full while somebody has the turn. It guards all fields above, and until and spare.
	turn chan struct{}
	// until is when the loop wakes up by itself. spare is the inbox before the current one, empty.
	until time.Duration
	spare []item

	// done counts the requests and ops of this batch; worked, which Service.Worked reads, is
	// brought up to date after each batch.
	done   uint64
	worked atomic.Uint64
	// settled is the epoch in which all partitions that are owned are active; 0 while some are not.
	settled atomic.Uint32

	// awaited says for whom this shard waited when it was last asked; asked is set while it has
	// been asked again.
	awaited atomic.Pointer[awaitedAcks]
	asked   atomic.Bool

	wake wake.Signal
	mu   sync.Mutex
	// inbox collects what arrives while the loop is busy; guarded by mu.
	inbox []item
	// closed is set once nothing is accepted any more; guarded by mu.
	closed bool
}

func newShard(s *Service, count int, pen *journal.Pen) *shard {
	return &shard{service: s, pen: pen, parts: make([]*partition, 0, count), wake: wake.New(), turn: make(chan struct{}, 1), traces: newTraces(s.tracer)}
}
