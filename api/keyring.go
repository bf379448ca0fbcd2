package api

import (
	"context"

	"github.com/sgkandale/sharelock"
	pb "github.com/sgkandale/sharelock/proto/sharelock/v1"
)

// GetKeyring implements sharelock.v1.MeshService.
func (s *meshes) GetKeyring(ctx context.Context, m *pb.GetKeyringRequest) (*pb.GetKeyringResponse, error) {
	k, err := s.node.Keyring(ctx, m.GetShowKeys())
	if err != nil {
		return nil, err
	}
	return &pb.GetKeyringResponse{Keyring: pb.KeyringToProto(k)}, nil
}

// ChangeKeyring implements sharelock.v1.MeshService.
func (s *meshes) ChangeKeyring(ctx context.Context, m *pb.ChangeKeyringRequest) (*pb.ChangeKeyringResponse, error) {
	c := pb.KeyringChangeFromProto(m)
	if c.Action == 0 {
		return nil, sharelock.Invalid("action", "want install, use, remove or rotate")
	}
	k, err := s.node.ChangeKeyring(ctx, c)
	if err != nil {
		return nil, err
	}
	return &pb.ChangeKeyringResponse{Keyring: pb.KeyringToProto(k)}, nil
}
