package mesh

import (
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/sgkandale/sharelock/internal/ringproto"
	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
	"github.com/sgkandale/sharelock/ring"
)

// A process relays and collects in its own name only (V6a).
func TestRelayInAnothersName(t *testing.T) {
	a, b := ring.Identity{ID: "a", Counter: 1}, ring.Identity{ID: "b", Counter: 1}
	p := &peerServer{node: &Node{}} // it does not lead
	for _, test := range []struct {
		caller string
		want   codes.Code
	}{{a.String(), codes.Unavailable}, {b.String(), codes.PermissionDenied}, {"", codes.PermissionDenied}} {
		ctx := metadata.NewIncomingContext(t.Context(), metadata.Pairs(mdFrom, test.caller))
		_, err := p.Relay(ctx, &peerv1.RelayRequest{Parcel: &peerv1.Parcel{From: ringproto.EncodeIdentity(a), To: ringproto.EncodeIdentity(b)}})
		if status.Code(err) != test.want {
			t.Errorf("relay by %q: %v, want %v", test.caller, err, test.want)
		}
		_, err = p.Collect(ctx, &peerv1.CollectRequest{Member: ringproto.EncodeIdentity(a)})
		if status.Code(err) != test.want {
			t.Errorf("collect by %q: %v, want %v", test.caller, err, test.want)
		}
	}
}

func TestRoom(t *testing.T) {
	var r room
	for i := range 3 {
		if got := r.enter(2); got != (i < 2) {
			t.Errorf("entry %d of a room of two: %t", i+1, got)
		}
	}
	r.leave()
	if !r.enter(2) || r.enter(2) {
		t.Error("a place that was given back is not given again")
	}
}
