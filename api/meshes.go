package api

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/api/gate"
	"github.com/sgkandale/sharelock/api/remote"
	"github.com/sgkandale/sharelock/internal/caller"
	pb "github.com/sgkandale/sharelock/proto/sharelock/v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
)

// meshes implements sharelock.v1.MeshService in front of a Mesh. Like [locks], it returns the
// errors of package sharelock.
type meshes struct {
	pb.UnimplementedMeshServiceServer
	node  Mesh
	gate  *gate.Gate // may be nil
	log   *slog.Logger
	level *slog.LevelVar
	debug func() []DebugFile
}

func newMeshes(node Mesh, g *gate.Gate, o Options) *meshes {
	return &meshes{node: node, gate: g, log: o.logger(), level: o.Level, debug: o.Debug}
}

func (s *meshes) GetMesh(context.Context, *pb.GetMeshRequest) (*pb.GetMeshResponse, error) {
	return pb.MeshToProto(s.node.Status()), nil
}

// WhoAmI implements sharelock.v1.MeshService.
func (s *meshes) WhoAmI(ctx context.Context, _ *pb.WhoAmIRequest) (*pb.WhoAmIResponse, error) {
	who, err := s.gate.Identity(ctx)
	if who == nil || err != nil {
		return &pb.WhoAmIResponse{}, err
	}
	r := &pb.WhoAmIResponse{
		Authentication: true, Principal: who.Principal(), Credential: string(who.Kind()), CredentialId: who.CredentialID(),
	}
	if end := who.Expires(); !end.IsZero() {
		r.ExpiresIn = durationpb.New(time.Until(end))
	}
	for _, rule := range who.Rules() {
		r.Permissions = append(r.Permissions, &pb.Permission{Verb: rule.Verb.String(), Keys: rule.Keys})
	}
	l := who.Limits()
	r.Limits = &pb.PrincipalLimits{
		MaxHolds: count(l.MaxHolds), MaxWaiters: count(l.MaxWaiters),
		MaxCallsPerSecond: count(l.MaxCallsPerSecond), MaxConnections: count(l.MaxConnections),
	}
	return r, nil
}

func (s *meshes) Locate(_ context.Context, m *pb.LocateRequest) (*pb.LocateResponse, error) {
	// Unlike a Locker, a Mesh need not check keys.
	if err := sharelock.CheckKey(m.GetKey()); err != nil {
		return nil, err
	}
	l, err := s.node.Locate(m.GetKey())
	if err != nil {
		return nil, err
	}
	return pb.LocationToProto(l), nil
}

func (s *meshes) GetRing(context.Context, *pb.GetRingRequest) (*pb.GetRingResponse, error) {
	return ringOf(s.node)
}

// ringOf returns the owners of all partitions, as a node knows them.
func ringOf(node Mesh) (*pb.GetRingResponse, error) {
	p, err := node.Placement()
	if err != nil {
		return nil, err
	}
	r := &pb.GetRingResponse{Epoch: p.Epoch, Partitions: count(len(p.Owners)), Owners: p.Owners}
	for _, m := range p.Members {
		r.Members = append(r.Members, &pb.RingMember{Name: m.Name, Grpc: m.GRPC})
	}
	return r, nil
}

// ringBytes returns ringOf in wire format. It is empty if the node does not know the owners.
func ringBytes(node Mesh) []byte {
	r, err := ringOf(node)
	if err != nil {
		return nil
	}
	b, err := proto.Marshal(r)
	if err != nil {
		return nil // a name is not UTF-8
	}
	return b
}

// GetActivity implements sharelock.v1.MeshService.
func (s *meshes) GetActivity(ctx context.Context, m *pb.GetActivityRequest) (*pb.GetActivityResponse, error) {
	if m.GetContended() > sharelock.MaxPageSize {
		return nil, sharelock.Invalid("contended", fmt.Sprintf("must be 0 to %d", sharelock.MaxPageSize))
	}
	list, err := s.node.Activity(ctx, int(m.GetContended()))
	if err != nil {
		return nil, err
	}
	r := &pb.GetActivityResponse{}
	for _, a := range list {
		member := pb.ActivityToProto(a)
		member.Contended = slices.DeleteFunc(member.GetContended(), func(c *pb.Contention) bool {
			return !gate.MayRead(ctx, c.GetKey())
		})
		r.Members = append(r.Members, member)
	}
	return r, nil
}

// Decommission implements sharelock.v1.MeshService.
func (s *meshes) Decommission(ctx context.Context, m *pb.DecommissionRequest) (*pb.DecommissionResponse, error) {
	if n := len(m.GetName()); n == 0 || n > 64 {
		return nil, sharelock.Invalid("name", "want 1 to 64 bytes, as in node.name")
	}
	if err := s.node.Decommission(ctx, m.GetName()); err != nil {
		return nil, err
	}
	return &pb.DecommissionResponse{}, nil
}

func (s *meshes) Leave(ctx context.Context, m *pb.LeaveRequest) (*pb.LeaveResponse, error) {
	s.log.Info("asked to leave the mesh", "by", callerOf(ctx), "for_good", m.GetForGood())
	if err := s.node.Leave(ctx, m.GetForGood()); err != nil {
		return nil, err
	}
	return &pb.LeaveResponse{}, nil
}

// callerOf returns the name of the caller, for the log.
func callerOf(ctx context.Context) string {
	who := caller.From(ctx).Principal
	if remote := remote.Addr(ctx); remote != nil {
		if who != "" {
			return who + " at " + remote.String()
		}
		return remote.String()
	}
	return cmp.Or(who, "this program")
}

func count(n int) uint32 { return uint32(min(max(n, 0), math.MaxInt32)) }
