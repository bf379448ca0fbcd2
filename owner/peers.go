package owner

import (
	"context"

	"github.com/sgkandale/sharelock/owner/mutant"
	"github.com/sgkandale/sharelock/ring"
)

// Held says what a member holds of one partition: the epoch in which its copy
// was last synced and how far that copy goes. The empty copy of epoch 0, which
// everybody holds, is never listed.
type Held struct {
	Partition uint32
	Have      uint32
	Seq       uint64
}

// newer orders copies as the choice of an activation does: by the epoch of the
// sync, then by sequence number (section 4.2).
func (h Held) newer(than Held) bool {
	if h.Have != than.Have && (h.Seq == than.Seq || !mutant.On(mutant.HaveIgnored)) {
		return h.Have > than.Have
	}
	return h.Seq > than.Seq
}

// Copy is a partition's state on its way from one member to another.
type Copy struct {
	Held
	// Data is what Machine.Encode made.
	Data []byte
}

// Peers is what an activation needs of the other members. One call is one
// attempt: it returns an error wrapping [ErrBehind] when the two members are in
// different epochs, and ctx's error when ctx ended. The implementation brings a
// member that is behind up to the caller's view first (A1).
type Peers interface {
	// Ask asks a member what it holds of the partitions (section 4.1).
	Ask(ctx context.Context, to ring.Member, epoch uint32, partitions []uint32) ([]Held, error)
	// Fetch takes the copies in want from a member, handing each to take as it
	// arrives (section 4.4).
	Fetch(ctx context.Context, to ring.Member, epoch uint32, want []Held, take func(Copy) error) error
	// Sync gives a backup the bases of this epoch (section 4.4). When it returns nil
	// the backup has them all synced.
	Sync(ctx context.Context, to ring.Member, epoch uint32, bases []Base) error
	// Replicate queues ops for a backup (A3), without waiting. It does not keep entries,
	// but the ops in them, which nobody changes. Acknowledgements come to Service.Acked;
	// when the link broke and is open again, LinkUp is told.
	Replicate(to ring.Member, epoch uint32, entries []Entries)
	// Active tells a member that partitions are active in this epoch (G1).
	Active(ctx context.Context, to ring.Member, epoch uint32, partitions []uint32) error
}
