package owner

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/release"
	"github.com/sgkandale/sharelock/owner/machine"
	"github.com/sgkandale/sharelock/owner/ops"
	"github.com/sgkandale/sharelock/ring"
)

// W3: a backup that gets an op it does not know neither skips it nor asks for a new epoch,
// which would end at the same op: it stops, keeps what it has, and tells the process.
func TestUnknownOpStops(t *testing.T) {
	bubble(t, func(tb *table) {
		tb.three(2)
		epoch := tb.view([]string{"a", "b", "c"})
		set := tb.set("k")
		owner, backup := set[0], set[1]
		tb.granted(tb.ask(owner, acquireOf("k", "c1", 0)))
		p := ring.PartitionOf("k", testPartitions)
		var before []byte
		var seq uint64
		backup.service.inShard(p, func(sh *shard, p *partition) { before, seq = p.m.Encode(tb.clock()), p.m.Seq() })
		op := (&ops.Op{Kind: ops.Read, Key: "k"}).Append(nil)
		op[0] = byte(ops.Last) + 1
		acked := 0
		send := func(e Entries) {
			backup.service.Backup(owner.member.Identity, epoch, []Entries{e}, func(uint32, Ack) { acked++ })
			tb.rest()
		}
		send(Entries{Partition: p, First: seq + 1, Ops: op})
		if backup.unknown.Load() != 1 || !errors.Is(*backup.strange.Load(), release.ErrUnknown) {
			t.Errorf("the process was told %d times", backup.unknown.Load())
		}
		// What follows is not applied either.
		send(Entries{Partition: p, First: seq + 1, Ops: (&ops.Op{Kind: ops.Read, Key: "k"}).Append(nil)})
		var after []byte
		backup.service.inShard(p, func(sh *shard, p *partition) { after = p.m.Encode(tb.clock()) })
		if acked != 0 || !bytes.Equal(before, after) {
			t.Errorf("%d acknowledgements; the copy changed: %t", acked, !bytes.Equal(before, after))
		}
		if backup.service.NeedsRefresh() {
			t.Error("a new epoch is asked for, which ends at the same op")
		}
	})
}

// What is known but does not fit is another thing: a new epoch begins with equal copies.
func TestBrokenOpAsksForAnEpoch(t *testing.T) {
	bubble(t, func(tb *table) {
		tb.three(2)
		epoch := tb.view([]string{"a", "b", "c"})
		set := tb.set("k")
		op := ops.Op{Kind: ops.Release, Key: "k", Token: sharelock.Token(7), Why: ops.Released}
		set[1].service.Backup(set[0].member.Identity, epoch, []Entries{{
			Partition: ring.PartitionOf("k", testPartitions), First: 1, Ops: op.Append(nil),
		}}, func(uint32, Ack) { t.Error("acknowledged") })
		tb.rest()
		if !set[1].service.NeedsRefresh() || set[1].unknown.Load() != 0 {
			t.Errorf("a new epoch is asked for: %t; told %d times", set[1].service.NeedsRefresh(), set[1].unknown.Load())
		}
	})
}

// W3: so does a member that is given a copy of a later release, as a backup or to own it.
func TestUnknownCopyStops(t *testing.T) {
	bubble(t, func(tb *table) {
		tb.three(2)
		epoch := tb.view([]string{"a", "b", "c"})
		set := tb.set("k")
		owner, backup := set[0], set[1]
		p := ring.PartitionOf("k", testPartitions)
		backup.service.inShard(p, func(_ *shard, p *partition) { p.have-- }) // as if it were not synced yet
		// The first record, of a copy of a later version than 1.
		b := Base{Held: Held{Partition: p}, Data: []byte{1, 2}, Last: true}
		taken, err := backup.service.Sync(owner.member.Identity, epoch, []Base{b})
		if err != nil || taken[0].Done || taken[0].Why == "" || backup.unknown.Load() != 1 {
			t.Errorf("synced %+v, %v; the process was told %d times", taken, err, backup.unknown.Load())
		}
		a := &activation{service: owner.service, epoch: epoch}
		c := &incoming{want: Want{Held: Held{Partition: p}}, into: machine.NewAssembler(p, 10)}
		if err := a.took(c, &Piece{Partition: p, Data: b.Data, Last: true}); !errors.Is(err, ops.ErrUnknown) || owner.unknown.Load() != 1 {
			t.Errorf("fetched: %v; the process was told %d times", err, owner.unknown.Load())
		}
	})
}

// refusing are Peers to whom one member refuses a call for ever, as one that does not
// implement it does.
type refusing struct {
	*seated
	who, what string
}

func (r refusing) err(to ring.Member, what string) error {
	if to.ID == r.who && what == r.what {
		return ErrRefused
	}
	return nil
}

func (r refusing) Ask(ctx context.Context, to ring.Member, epoch uint32, partitions []uint32) ([]Held, error) {
	if err := r.err(to, askMessage); err != nil {
		return nil, err
	}
	return r.seated.Ask(ctx, to, epoch, partitions)
}

func (r refusing) Fetch(ctx context.Context, to ring.Member, epoch uint32, wants []Want) ([]Piece, error) {
	if err := r.err(to, fetchMessage); err != nil {
		return nil, err
	}
	return r.seated.Fetch(ctx, to, epoch, wants)
}

func (r refusing) Sync(ctx context.Context, to ring.Member, epoch uint32, bases []Base) ([]Taken, error) {
	if err := r.err(to, syncMessage); err != nil {
		return nil, err
	}
	return r.seated.Sync(ctx, to, epoch, bases)
}

func (r refusing) Active(ctx context.Context, to ring.Member, epoch uint32, partitions []uint32) error {
	if err := r.err(to, activeNote); err != nil {
		return err
	}
	return r.seated.Active(ctx, to, epoch, partitions)
}

// V6: a member that refuses a call for ever is waited for, whichever call that is: it may
// be of a release that does not know it. It is complained of, and no other.
func TestRefusalIsNoProgress(t *testing.T) {
	for _, what := range []string{askMessage, fetchMessage, syncMessage, activeNote} {
		t.Run(what, func(t *testing.T) {
			bubble(t, func(tb *table) {
				seats := tb.seat("abc", 2)
				a, b := seats[0], seats[1]
				// b alone holds what a is to own and back up.
				tb.deal("b")
				for i := range 40 {
					tb.granted(tb.ask(b, acquireOf(fmt.Sprint("k", i), "c1", 0)))
				}
				a.service.peers = refusing{a, "b", what}
				tb.deal("abc")
				tb.pass(1100 * time.Millisecond)
				if got := tb.stuck(a); len(got) != 1 || got[0] != b.member.Identity {
					t.Errorf("it complains about %v, want b", got)
				}
				tb.pass(10 * time.Second)
				if got := tb.stuck(a); len(got) != 1 || got[0] != b.member.Identity {
					t.Errorf("ten seconds later it complains about %v, want b", got)
				}
			})
		})
	}
}
