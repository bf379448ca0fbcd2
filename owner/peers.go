package owner

import (
	"context"
	"errors"

	"github.com/sgkandale/sharelock/owner/machine"
	"github.com/sgkandale/sharelock/ring"
)

// Held says what a member holds of one partition: the epoch in which its copy was last synced, and
// the sequence number of its last op. The empty copy of epoch 0, which every member has, is never
// listed.
type Held struct {
	Partition uint32
	Have      uint32
	Seq       uint64
}

// newer reports whether an activation prefers h: copies are ordered by the epoch of the sync, then
// by sequence number (section 4.2).
func (h Held) newer(than Held) bool {
	if h.Have != than.Have {
		return h.Have > than.Have
	}
	return h.Seq > than.Seq
}

// Want names a copy that a member wants, and where in it the next piece begins.
type Want struct {
	Held
	// Position is as the piece before said; empty is the beginning.
	Position []byte
}

// A Piece is a part of a copy on its way from one member to another.
type Piece struct {
	Partition uint32
	// Data is what Machine.Piece has encoded.
	Data []byte
	// Position is where the next piece begins. Last is set if there is none.
	Position []byte
	Last     bool
	// Missing is set if the member does not hold the copy that was named.
	Missing bool
	// Why says why it was refused otherwise; it is empty if it was not.
	Why string
}

// A Base is one piece of a copy that an owner gives to its backups as the base of an
// epoch (section 4.4), or the name of a copy that they have.
type Base struct {
	// Held is the copy that was chosen, by the epoch and sequence number under
	// which a member that has it already knows it.
	Held
	// Log is where the log of the epoch begins: the copy's own sequence number.
	Log uint64
	// Same is set if the backup has said that it holds exactly this copy. Then there is no data.
	Same bool
	// Number is the number of this piece, from 0. Last is set if no piece follows.
	Number uint32
	Data   []byte
	Last   bool
}

// Taken says how far a backup has got with a base.
type Taken struct {
	Partition uint32
	// Next is the number of the piece that comes next.
	Next uint32
	// Done is set if the base is in place.
	Done bool
	// Why says why it was refused; it is empty if it was not.
	Why string
}

// The largest number of partitions, and of bytes of copies, in one message between members.
const (
	MaxBatch = 256
	MaxBytes = 4 * machine.StepBytes
)

// ErrRefused means that a member has answered that it will not do what it was asked, so the member
// is reachable. Package mesh wraps it around such answers.
var ErrRefused = errors.New("refused")

// ErrBehind is the answer to a peer message of an older epoch, or for an epoch
// that this member has not installed.
var ErrBehind = errors.New("epochs differ")

// Peers is what an activation needs of the other members. One call is one
// attempt: it returns an error wrapping [ErrBehind] when the two members are in
// different epochs, and ctx's error when ctx ended. The implementation brings a
// member that is behind up to the caller's view first (A1).
type Peers interface {
	// Ask asks a member what it holds of the partitions (section 4.1).
	Ask(ctx context.Context, to ring.Member, epoch uint32, partitions []uint32) ([]Held, error)
	// Fetch reads the next pieces of copies of a member (section 4.4), at most
	// [MaxBatch] of them. It returns a piece for each of the first of wants, as many as
	// fit into [MaxBytes].
	Fetch(ctx context.Context, to ring.Member, epoch uint32, wants []Want) ([]Piece, error)
	// Sync gives a backup the next pieces of the bases of this epoch (section 4.4), at
	// most [MaxBatch] with at most [MaxBytes] of data. It returns what has become of
	// each.
	Sync(ctx context.Context, to ring.Member, epoch uint32, bases []Base) ([]Taken, error)
	// Replicate queues ops for a backup (A3), without waiting. It does not keep entries,
	// but the ops in them, which nobody changes. Acknowledgements come to Service.Acked;
	// when the link broke and is open again, LinkUp is told.
	Replicate(to ring.Member, epoch uint32, entries []Entries)
	// Active tells a member that partitions are active in this epoch (G1).
	Active(ctx context.Context, to ring.Member, epoch uint32, partitions []uint32) error
}
