package peer

import (
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/clock"
	"github.com/sgkandale/sharelock/internal/ringproto"
	"github.com/sgkandale/sharelock/internal/virtual"
	"github.com/sgkandale/sharelock/mesh/epoch/epochtest"
	"github.com/sgkandale/sharelock/mesh/view"
	"github.com/sgkandale/sharelock/owner"
	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
)

// A parcel is checked like a direct call: its receiver, its sender and its epoch (A1, V6a).
func TestParcelIsChecked(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		v := epochtest.View(1, "a", "b")
		members := v.Members
		views, stop := epochtest.New("a", clock.Monotonic())
		defer stop()
		if err := views.Offer(epochtest.State(v)); err != nil {
			t.Fatal(err)
		}
		ask, err := proto.Marshal(&peerv1.AskRequest{Epoch: 1, Partitions: []uint32{0}})
		if err != nil {
			t.Fatal(err)
		}
		good := func() *peerv1.Parcel {
			return &peerv1.Parcel{
				Id: 7, From: ringproto.EncodeIdentity(members[1].Identity), To: ringproto.EncodeIdentity(members[0].Identity),
				Epoch: 1, Method: peerv1.PeerService_Ask_FullMethodName, Request: ask,
			}
		}
		server := NewServer(ServerConfig{Self: members[0].Identity, Views: views})
		for name, tt := range map[string]struct {
			change  func(*peerv1.Parcel)
			want    codes.Code
			refused bool
		}{
			"good":                   {func(*peerv1.Parcel) {}, codes.OK, false},
			"for a later start":      {func(p *peerv1.Parcel) { p.To.Counter++ }, codes.FailedPrecondition, true},
			"of an earlier start":    {func(p *peerv1.Parcel) { p.From.Nonce++ }, codes.FailedPrecondition, true},
			"of an older epoch":      {func(p *peerv1.Parcel) { p.Epoch = 0 }, codes.Aborted, false},
			"of a later epoch":       {func(p *peerv1.Parcel) { p.Epoch = 2 }, codes.Aborted, false},
			"of an unknown method":   {func(p *peerv1.Parcel) { p.Method = peerv1.PeerService_Promise_FullMethodName }, codes.Unimplemented, true},
			"that cannot be decoded": {func(p *peerv1.Parcel) { p.Request = []byte{0xff} }, codes.InvalidArgument, true},
		} {
			p := good()
			tt.change(p)
			reply := server.open(t.Context(), p)
			if codes.Code(reply.GetCode()) != tt.want || reply.GetRefused() != tt.refused || reply.GetId() != 7 {
				t.Errorf("a parcel %s: %v, want %v, refused %t", name, reply, tt.want, tt.refused)
			}
		}
	})
}

// What may be relayed fits into a parcel (V6a).
func TestLargestParcels(t *testing.T) {
	partitions := slices.Repeat([]uint32{1<<32 - 1}, askedAtOnce)
	held := &peerv1.Held{Partition: 1<<32 - 1, Have: 1<<32 - 1, Seq: 1<<64 - 1}
	// All data in few pieces, each of which continues at a key, and small pieces besides.
	position := []byte(strings.Repeat("x", 64+sharelock.MaxKeyBytes+sharelock.MaxRequestIDBytes))
	pieces := slices.Repeat([]*peerv1.Piece{{Partition: 1<<32 - 1, Data: make([]byte, owner.MaxBytes/4), Position: position}}, 4)
	pieces = append(pieces, slices.Repeat([]*peerv1.Piece{{Partition: 1<<32 - 1, Last: true}}, owner.MaxBatch-4)...)
	for _, m := range []proto.Message{
		&peerv1.AskRequest{Epoch: 1 << 31, Partitions: partitions},
		&peerv1.AskResponse{Epoch: 1 << 31, Held: slices.Repeat([]*peerv1.Held{held}, askedAtOnce)},
		&peerv1.ActiveRequest{Epoch: 1 << 31, Partitions: partitions},
		&peerv1.FetchRequest{Epoch: 1 << 31, Wants: slices.Repeat([]*peerv1.Want{{Held: held, Position: position}}, owner.MaxBatch)},
		&peerv1.FetchResponse{Epoch: 1 << 31, Pieces: pieces},
	} {
		if size := proto.Size(m); size > view.MaxParcel {
			t.Errorf("%s has %d bytes, the most is %d", m.ProtoReflect().Descriptor().Name(), size, view.MaxParcel)
		}
	}
}
