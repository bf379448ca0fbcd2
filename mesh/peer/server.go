package peer

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/release"
	"github.com/sgkandale/sharelock/internal/rules"
	"github.com/sgkandale/sharelock/mesh/epoch"
	"github.com/sgkandale/sharelock/mesh/keyring"
	"github.com/sgkandale/sharelock/mesh/view"
	"github.com/sgkandale/sharelock/owner/journal"
	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
	"github.com/sgkandale/sharelock/ring"
)

// ServerConfig is what a Server needs of its process.
type ServerConfig struct {
	// Self is this process; Releases are those that it works with.
	Self     ring.Identity
	Releases release.Range
	// Cluster returns the id of the cluster that the process follows, empty while it follows none.
	Cluster func() []byte
	// Promise binds this process to a cluster (V0). Without a founder, the cluster exists already.
	Promise func(cluster []byte, founder ring.Identity) error
	Views   *epoch.Views
	// Callers are the members whose own calls have arrived (V5).
	Callers *Contacts
	Clock   func() time.Duration
	// DialBack returns nil if a process that wants to join can be dialled (V3).
	DialBack func(ctx context.Context, m ring.Member) error

	// Raft is this process's Raft. Double reports whether another process with this one's id is a
	// member (V3).
	Raft   Raft
	Double func() bool
	// Abstains reports whether this process's vote must not be counted on, see view.Vote.
	Abstains func() bool
	// Leading returns this process's leadership, or nil. Leader returns the peer address of the
	// leader, or "", and Voters the ids of the voters.
	Leading func() *view.Leader
	Leader  func() string
	Voters  func() []string
	// Silent is called with the member whose silence is why this process was handed leadership
	// (V5).
	Silent func(silent ring.Identity)

	// Forced is called with holds that were taken away from their holders by force.
	Forced func(holds []sharelock.Hold, reason string)
	// History searches what this process has recorded; nil if it records nothing.
	History func(ctx context.Context, q journal.Query) (journal.Part, error)
	// Keyring reads or changes this process's gossip keys.
	Keyring func(r keyring.Request) (keyring.Report, error)
	Log     *slog.Logger
}

// Raft is what a Server needs of this process's Raft.
type Raft interface {
	// Leads reports whether Raft considers this process the leader.
	Leads() bool
	// Term returns Raft's term, Applied the index of the last applied entry.
	Term() uint64
	Applied() uint64
}

var _ Raft = (*view.Raft)(nil)

// Server answers other processes.
type Server struct {
	peerv1.UnimplementedPeerServiceServer
	cfg ServerConfig
}

// NewServer returns a Server, see GRPC.
func NewServer(cfg ServerConfig) *Server { return &Server{cfg: cfg} }

// GRPC returns a gRPC server that answers calls between members. options are added to its own.
func (p *Server) GRPC(options ...grpc.ServerOption) *grpc.Server {
	s := grpc.NewServer(append([]grpc.ServerOption{
		grpc.UnaryInterceptor(p.unary), grpc.StreamInterceptor(p.stream),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
		// A peer that lost its power does not close its connections. Package link has its own
		// timeout for links.
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 10 * time.Second, Timeout: 3 * time.Second}),
		grpc.MaxRecvMsgSize(rules.MaxPeerMessage), grpc.WaitForHandlers(true),
		grpc.StaticStreamWindowSize(streamWindow), grpc.StaticConnWindowSize(connWindow),
	}, options...)...)
	peerv1.RegisterPeerServiceServer(s, p)
	return s
}

// meant refuses calls from another cluster, or for another process (V0, A1).
//
// Only calls from or to a process that follows no cluster yet have no cluster id; that is how the
// process finds its cluster.
//
// It records the callers of the other calls: a voter reports whose calls reach it (V5).
func (p *Server) meant(ctx context.Context, method string) error {
	md, _ := metadata.FromIncomingContext(ctx)
	if err := p.check(md, method); err != nil {
		return err
	}
	if from := md.Get(mdFrom); len(from) > 0 {
		p.cfg.Callers.Note(from[0], p.cfg.Clock())
	}
	return nil
}

func (p *Server) check(md metadata.MD, method string) error {
	if to := md.Get(mdTo); len(to) > 0 && to[0] != p.cfg.Self.String() {
		return status.Errorf(codes.FailedPrecondition, "this is %s, not %s", p.cfg.Self, to[0])
	}
	theirs, ours := md.Get(mdCluster), p.cfg.Cluster()
	switch {
	case len(theirs) > 0 && len(ours) > 0 && theirs[0] != string(ours):
		return status.Error(codes.FailedPrecondition, "another cluster")
	case (len(theirs) == 0 || len(ours) == 0) && !beforeCluster(method):
		return status.Error(codes.FailedPrecondition, "no cluster yet")
	}
	return nil
}

// beforeCluster reports whether a method may be called before there is a cluster.
func beforeCluster(method string) bool {
	switch method {
	case peerv1.PeerService_Promise_FullMethodName, peerv1.PeerService_Probe_FullMethodName, peerv1.PeerService_Join_FullMethodName:
		return true
	}
	return false
}

// peerPrefix is the prefix of the names of this service's methods.
const peerPrefix = "/sharelock.peer.v1.PeerService/"

func (p *Server) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	if err := p.meant(ctx, info.FullMethod); err != nil {
		return nil, err
	}
	return next(ctx, req)
}

func (p *Server) stream(srv any, s grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	if strings.HasPrefix(info.FullMethod, peerPrefix) {
		if err := p.meant(s.Context(), info.FullMethod); err != nil {
			return err
		}
	}
	return next(srv, s) // other services make their own checks
}
