package api

import (
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/sgkandale/sharelock"
	pb "github.com/sgkandale/sharelock/proto/sharelock/v1"
)

// The node gets the request, and its answer is returned.
func TestGRPCKeyring(t *testing.T) {
	node := newFake()
	mesh := dialFake(t, node, Options{}).mesh
	for _, show := range []bool{false, true} {
		want, err := node.Keyring(t.Context(), show)
		if err != nil {
			t.Fatal(err)
		}
		got, err := mesh.GetKeyring(t.Context(), &pb.GetKeyringRequest{ShowKeys: show})
		if err != nil || !proto.Equal(got.GetKeyring(), pb.KeyringToProto(want)) {
			t.Errorf("with keys %t the keyring is %v, %v", show, got, err)
		}
	}
	req := &pb.ChangeKeyringRequest{Action: pb.KeyringAction_KEYRING_ACTION_USE, GossipKey: "k", WithoutAbsent: true}
	if resp, err := mesh.ChangeKeyring(t.Context(), req); err != nil || len(resp.GetKeyring().GetKeys()) != 1 {
		t.Errorf("change: %v, %v", resp, err)
	}
	node.set(func(n *fakeNode) {
		if want := (sharelock.KeyringChange{Action: sharelock.UseKey, Key: "k", WithoutAbsent: true}); n.change != want {
			t.Errorf("the node gets %+v, want %+v", n.change, want)
		}
		n.err = &sharelock.Error{Err: sharelock.ErrNotConfirmed, Message: "b"}
	})
	for _, action := range []pb.KeyringAction{0, 99} {
		_, err := mesh.ChangeKeyring(t.Context(), &pb.ChangeKeyringRequest{Action: action})
		if got := pb.Reason(pb.FromError(err)); got != "INVALID_ARGUMENT" {
			t.Errorf("action %d: %v", action, err)
		}
	}
	_, err := mesh.ChangeKeyring(t.Context(), req)
	if got := pb.Reason(pb.FromError(err)); got != "NOT_CONFIRMED" {
		t.Errorf("what is not confirmed: %v", err)
	}
	if _, err := mesh.GetKeyring(t.Context(), &pb.GetKeyringRequest{}); pb.Reason(pb.FromError(err)) != "NOT_CONFIRMED" {
		t.Errorf("a list that fails: %v", err)
	}
}

// The gate and the audit log read the key of a lock from requests. They must not find a gossip key there.
func TestKeyringRequestHasNoKey(t *testing.T) {
	if _, ok := any(&pb.ChangeKeyringRequest{}).(interface{ GetKey() string }); ok {
		t.Error("a gossip key looks like the key of a lock")
	}
}
