package peer

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sgkandale/sharelock/mesh/keyring"
	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
)

// Each request arrives as it was sent, and so does the report.
func TestServerKeyring(t *testing.T) {
	k := keyring.Generate()
	f := k.Fingerprint()
	report := keyring.Report{Keys: []keyring.Fingerprint{f}, Ring: keyring.Ring{k}, Mode: keyring.Migrate, FromFile: true}
	var got keyring.Request
	var refuse error
	s := NewServer(ServerConfig{Keyring: func(r keyring.Request) (keyring.Report, error) { got = r; return report, refuse }})
	for _, c := range []struct {
		req  *peerv1.KeyringRequest
		want keyring.Request
	}{
		{&peerv1.KeyringRequest{WithKeys: true}, keyring.Request{WithKeys: true}},
		{&peerv1.KeyringRequest{Action: peerv1.KeyringRequest_ACTION_INSTALL, Key: k[:]}, keyring.Request{Action: keyring.Install, Key: k}},
		{&peerv1.KeyringRequest{Action: peerv1.KeyringRequest_ACTION_USE, Fingerprint: f[:]}, keyring.Request{Action: keyring.Use, Fingerprint: f}},
		{&peerv1.KeyringRequest{Action: peerv1.KeyringRequest_ACTION_REMOVE, Fingerprint: f[:]}, keyring.Request{Action: keyring.Remove, Fingerprint: f}},
	} {
		resp, err := s.Keyring(t.Context(), c.req)
		if err != nil || got != c.want {
			t.Errorf("%v arrives as %+v, %v", c.req, got, err)
			continue
		}
		if back, err := reportFromProto(resp); err != nil || !reflect.DeepEqual(back, report) {
			t.Errorf("the report comes back as %+v, %v", back, err)
		}
	}
	refuse = errors.New("no")
	if resp, err := s.Keyring(t.Context(), &peerv1.KeyringRequest{}); err != nil || resp.GetRefused() != "no" {
		t.Errorf("a refusal is %v, %v", resp, err)
	}
}

// Malformed messages are refused, on both sides.
func TestKeyringMalformed(t *testing.T) {
	s := NewServer(ServerConfig{Keyring: func(r keyring.Request) (keyring.Report, error) {
		t.Errorf("%+v was accepted", r)
		return keyring.Report{}, nil
	}})
	for _, req := range []*peerv1.KeyringRequest{
		{Action: 9},
		{Action: -1},
		{Action: peerv1.KeyringRequest_ACTION_INSTALL},
		{Action: peerv1.KeyringRequest_ACTION_INSTALL, Key: make([]byte, 31)},
		{Action: peerv1.KeyringRequest_ACTION_INSTALL, Key: make([]byte, 33)},
		{Action: peerv1.KeyringRequest_ACTION_USE, Key: make([]byte, 32)},
		{Action: peerv1.KeyringRequest_ACTION_REMOVE, Fingerprint: make([]byte, 7)},
	} {
		if _, err := s.Keyring(context.Background(), req); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%v: %v", req, err)
		}
	}
	f := make([]byte, 8)
	for _, resp := range []*peerv1.KeyringResponse{
		{Encryption: "what"},
		{Keys: []*peerv1.KeyringKey{{Fingerprint: f[1:]}}},
		{Keys: []*peerv1.KeyringKey{{Fingerprint: f, Key: f}}},
		{Keys: slices.Repeat([]*peerv1.KeyringKey{{Fingerprint: f}}, keyring.MaxKeys+1)},
	} {
		if r, err := reportFromProto(resp); err == nil {
			t.Errorf("%v is taken as %+v", resp, r)
		}
	}
}
