package owner

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sgkandale/sharelock/owner/machine"
	"github.com/sgkandale/sharelock/owner/ops"
	"github.com/sgkandale/sharelock/ring"
)

// altered are Peers whose calls are changed on their way.
type altered struct {
	*seated
	wants  func([]Want)
	pieces func([]Piece)
	taken  func([]Taken)
}

func (a altered) Fetch(ctx context.Context, to ring.Member, epoch uint32, wants []Want) ([]Piece, error) {
	if a.wants != nil {
		a.wants(wants)
	}
	pieces, err := a.seated.Fetch(ctx, to, epoch, wants)
	if a.pieces != nil {
		a.pieces(pieces)
	}
	return pieces, err
}

func (a altered) Sync(ctx context.Context, to ring.Member, epoch uint32, bases []Base) ([]Taken, error) {
	taken, err := a.seated.Sync(ctx, to, epoch, bases)
	if a.taken != nil {
		a.taken(taken)
	}
	return taken, err
}

// An answer about another partition than was asked for says nothing: the partition is not
// served, which is no progress (V6), and the others are. Likewise what cannot be read at
// one member, or be encoded here, holds up its own partition alone, until it is well again.
func TestBadAnswerHoldsUpItsPartitionAlone(t *testing.T) {
	var p uint32 // the one that is held up
	var ill atomic.Bool
	for name, alter := range map[string]func(a *altered){
		"a sync is answered for another partition": func(a *altered) {
			a.taken = func(taken []Taken) {
				for i := range taken {
					if ill.Load() && taken[i].Partition == p {
						taken[i].Partition++
					}
				}
			}
		},
		"a fetch is answered for another partition": func(a *altered) {
			a.pieces = func(pieces []Piece) {
				for i := range pieces {
					if ill.Load() && pieces[i].Partition == p {
						pieces[i].Partition++
					}
				}
			}
		},
		"a position is malformed": func(a *altered) {
			a.wants = func(wants []Want) {
				for i := range wants {
					if ill.Load() && wants[i].Partition == p {
						wants[i].Position = []byte{2}
					}
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(tb *table) {
				ill.Store(true)
				seats := tb.seat("abc", 2)
				tb.deal("b") // it alone holds what the others are to own
				k := tb.keyFor("b:b", "abc:ac")
				p = ring.PartitionOf(k, testPartitions)
				for i := range 40 {
					tb.granted(tb.ask(seats[1], acquireOf(fmt.Sprint("other", i), "c1", 0)))
				}
				tb.granted(tb.ask(seats[1], acquireOf(k, "c1", 0)))
				a := seats[0]
				change := altered{seated: a}
				alter(&change)
				a.service.peers = change
				tb.deal("abc")
				tb.pass(1100 * time.Millisecond)
				if st := a.service.Stats(); st.Active != st.Owned-1 {
					t.Errorf("%d of %d partitions are served, want all but one", st.Active, st.Owned)
				}
				if got := tb.stuck(a); len(got) != 1 {
					t.Errorf("it complains about %v, want one member", got)
				}
				ill.Store(false)
				tb.pass(time.Second)
				if st := a.service.Stats(); st.Active != st.Owned || len(tb.stuck(a)) != 0 {
					t.Errorf("%d of %d partitions are served in the end, it complains about %v", st.Active, st.Owned, tb.stuck(a))
				}
			})
		})
	}
}

// A copy that cannot be encoded is waited for, so that it is complained of (V6), and the
// others go on.
func TestUnencodedCopyIsNoProgress(t *testing.T) {
	bubble(t, func(tb *table) {
		tb.seat("ab", 2)
		a := tb.members["a"]
		b := newPusher(&activation{service: a.service}, tb.members["b"].member)
		g := &outgoing{position: []byte{2}}
		a.service.inShard(0, func(sh *shard, p *partition) { sh.replace(p, machine.New(0, 0), 0) })
		b.copies = []*outgoing{g}
		if batch := b.batch(t.Context()); len(batch) != 0 || len(b.copies) != 0 || len(b.resting) != 1 || g.refused == nil {
			t.Errorf("%d are sent, %d rest, waited for: %t", len(batch), len(b.resting), g.refused != nil)
		}
		if err := b.encode(g, 0); !errors.Is(err, ops.ErrMalformed) {
			t.Errorf("error %v", err)
		}
		tb.pass(2 * time.Second)
		if got := tb.stuck(a); len(got) != 1 || got[0] != b.member.Identity {
			t.Errorf("it complains about %v, want b", got)
		}
	})
}

// A partition moves in few round trips: an answer has as many steps as it has room for.
func TestMoveTakesFewTrips(t *testing.T) {
	bubble(t, func(tb *table) {
		seats := tb.seat("abc", 2)
		a := seats[0]
		tb.deal("b")
		k := tb.keyFor("b:b", "abc:ac")
		id := ring.PartitionOf(k, testPartitions)
		size := 0
		seats[1].service.inShard(id, func(sh *shard, p *partition) {
			sh.silence(p)
			sh.replace(p, full(t, id, func(i int) string { return fmt.Sprint(k, "-", i) }), sh.epoch)
			size = len(p.m.Encode(0))
		})
		fetches, syncs, largest := 0, 0, 0
		a.service.peers = altered{
			seated: a,
			pieces: func(pieces []Piece) {
				sum, mine := 0, 0
				for i := range pieces {
					sum += len(pieces[i].Data)
					if pieces[i].Partition == id {
						mine++
					}
				}
				fetches, largest = fetches+mine, max(largest, sum)
			},
			taken: func(taken []Taken) {
				for i := range taken {
					if taken[i].Partition == id {
						syncs++
					}
				}
			},
		}
		tb.deal("abc")
		tb.pass(time.Second)
		if st := a.service.Stats(); st.Active != st.Owned {
			t.Fatalf("%d of %d partitions are served", st.Active, st.Owned)
		}
		if most := size/(MaxBytes-2*machine.StepBytes) + 8; fetches > most || syncs > most || largest > MaxBytes {
			t.Errorf("%d bytes took %d fetches and %d syncs, want %d at most; a message had %d bytes", size, fetches, syncs, most, largest)
		}
	})
}
