package cluster

import (
	"context"
	"fmt"
	"maps"
	"net"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/owner"
	"github.com/sgkandale/sharelock/owner/machine"
	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
)

// CheckCopies checks EqualCopies: all running nodes hold the same state of every partition of
// which they have a copy, and backups hold exactly the locks and waiters that the owners list.
// During the check nobody may use the mesh, and it must be whole (see WaitReady). A lock may
// expire during a comparison, so differences are checked again until ctx ends. It works on
// memory networks only.
func (c *Cluster) CheckCopies(ctx context.Context) error {
	tick := time.NewTicker(c.opts.Timing / 4)
	defer tick.Stop()
	for {
		differ, err := c.compareCopies(ctx)
		switch {
		case err != nil && ctx.Err() == nil:
			return fmt.Errorf("check copies: %w", err)
		case err == nil && differ == "":
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return &ViolationError{EqualCopies, differ}
		}
	}
}

// copyAt is a copy of one partition on one node.
type copyAt struct {
	node      int
	have, seq uint64
	machine   *machine.Machine // nil on the owner, which does not send copies of active partitions
}

// compareCopies describes the first difference between copies, or returns "".
func (c *Cluster) compareCopies(ctx context.Context) (string, error) {
	copies := map[uint32][]copyAt{}
	partitions := 0
	var page sharelock.ListPage
	for _, i := range c.running() {
		m := c.Node(i)
		partitions = m.Status().Partitions
		var err error
		if page, err = m.List(ctx, sharelock.ListRequest{PageSize: sharelock.MaxPageSize}); err != nil {
			return "", err
		}
	}
	for _, i := range c.running() {
		list, err := c.copiesOf(ctx, i, partitions)
		if err != nil {
			return "", fmt.Errorf("copies of node %d: %w", i, err)
		}
		for p, at := range list {
			copies[p] = append(copies[p], at)
		}
	}
	for p, list := range copies {
		for _, at := range list[1:] {
			if at.have != list[0].have || at.seq != list[0].seq {
				return fmt.Sprintf("partition %d: node %d has (%d, %d), node %d has (%d, %d)",
					p, list[0].node, list[0].have, list[0].seq, at.node, at.have, at.seq), nil
			}
		}
	}
	for _, l := range page.Locks {
		for _, at := range copies[l.Partition] {
			if at.machine == nil {
				continue
			}
			if got, ok := at.machine.Lock(0, l.Key); !ok || !sameLock(got, l) {
				return fmt.Sprintf("partition %d: node %d has %+v of key %q, its owner %+v", l.Partition, at.node, got, l.Key, l), nil
			}
		}
	}
	return "", nil
}

// sameLock reports whether two states of a key are equal apart from times.
func sameLock(a, b sharelock.KeyState) bool {
	return slices.EqualFunc(a.Holds, b.Holds, func(x, y sharelock.Hold) bool {
		return x.Token == y.Token && x.RequestID == y.RequestID && x.Mode == y.Mode && x.Slots == y.Slots && x.TTL == y.TTL && x.MaxHold == y.MaxHold &&
			maps.Equal(x.Metadata, y.Metadata)
	}) && slices.EqualFunc(a.Waiters, b.Waiters, func(x, y sharelock.Waiter) bool {
		return x.RequestID == y.RequestID && x.Mode == y.Mode && x.Slots == y.Slots
	})
}

// copiesOf fetches the copies of a node, as another member would.
func (c *Cluster) copiesOf(ctx context.Context, i, partitions int) (map[uint32]copyAt, error) {
	host := c.memory().Host("clients")
	conn, err := grpc.NewClient("passthrough:///"+c.Addrs(i).Peer,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) { return host.Dial(ctx, addr) }))
	if err != nil {
		return nil, err
	}
	defer conn.Close() //nolint:errcheck // an error only says that it was closed before
	peer := peerv1.NewPeerServiceClient(conn)
	who, err := peer.Probe(ctx, &peerv1.ProbeRequest{})
	if err != nil {
		return nil, err
	}
	ctx = metadata.AppendToOutgoingContext(ctx, "sl-cluster-bin", string(who.GetClusterId()))
	ask := &peerv1.AskRequest{Epoch: who.GetEpoch()}
	for p := range partitions {
		ask.Partitions = append(ask.Partitions, uint32(p))
	}
	held, err := peer.Ask(ctx, ask)
	if err != nil {
		return nil, err
	}
	list := map[uint32]copyAt{}
	for _, h := range held.GetHeld() {
		list[h.GetPartition()] = copyAt{node: i, have: uint64(h.GetHave()), seq: h.GetSeq()}
	}
	return list, fetchAll(ctx, peer, who.GetEpoch(), held.GetHeld(), list)
}

// fetchAll fetches whole copies in pieces.
func fetchAll(ctx context.Context, peer peerv1.PeerServiceClient, epoch uint32, held []*peerv1.Held, list map[uint32]copyAt) error {
	decoders := map[uint32]*machine.Assembler{}
	var wants []*peerv1.Want
	for _, h := range held {
		wants = append(wants, &peerv1.Want{Held: h})
		decoders[h.GetPartition()] = machine.NewAssembler(h.GetPartition(), 1<<20)
	}
	for len(wants) > 0 {
		resp, err := peer.Fetch(ctx, &peerv1.FetchRequest{Epoch: epoch, Wants: wants})
		if err != nil {
			return err
		}
		if len(resp.GetPieces()) == 0 {
			return fmt.Errorf("no pieces in epoch %d: %w", epoch, owner.ErrBehind)
		}
		for _, piece := range resp.GetPieces() {
			w := wants[0]
			wants = wants[1:]
			if piece.GetMissing() { // an owner does not send the copy of an active partition
				continue
			}
			d := decoders[piece.GetPartition()]
			if err := d.Add(0, piece.GetData()); err != nil {
				return err
			}
			if !piece.GetLast() {
				wants = append(wants, &peerv1.Want{Held: w.GetHeld(), Position: piece.GetPosition()})
				continue
			}
			at := list[piece.GetPartition()]
			if at.machine, err = d.Machine(); err != nil {
				return err
			}
			list[piece.GetPartition()] = at
		}
	}
	return nil
}
