package mesh

import (
	"io"
	"iter"
	"log/slog"
	"time"

	"github.com/sgkandale/sharelock/internal/audit"
	"github.com/sgkandale/sharelock/internal/meshhook"
	"github.com/sgkandale/sharelock/mesh/keyring"
	"github.com/sgkandale/sharelock/mesh/network"
	"go.opentelemetry.io/otel/trace"
)

// Config is everything a node can be told. Start from [DefaultConfig]; Validate
// reports every problem at once.
type Config struct {
	// Name is how people see the node; unique among live members.
	Name string
	// DataDir holds the id, the incarnation counter and Raft's few records. Empty
	// keeps them in memory: then a restart is a new member.
	DataDir string
	// Cluster is the mesh's name; meshes with different names never mix.
	Cluster string
	// Seeds are gossip addresses or DNS names, the same list on every node (V0).
	Seeds []string
	// Found starts a cluster of one that others may join, after every seed has answered
	// that it follows none; without seeds at once (V0).
	Found bool

	// Recover makes a new cluster from DataDir alone, when the directories of a majority of
	// the voters are lost for good; New refuses while another old member or a seed answers.
	// It is for one start: see docs/recovery.md.
	Recover bool

	// Listen addresses; a port 0 is chosen by the system, see Node.Addrs.
	HTTPListen, GRPCListen, PeerListen, GossipListen string
	// Advertised addresses, if others reach this node elsewhere than where it
	// listens; empty derives them from the listen addresses.
	PeerAdvertise, GossipAdvertise string

	// TLS secures the streams between members, and those of clients.
	TLS TLS
	// Auth says who may do what.
	Auth Auth
	// Insecure lets a node without TLS between members, or without keys for gossip, use addresses
	// of a network.
	Insecure bool
	// GossipEncryption is how gossip is encrypted; the zero value is required with keys, and off
	// without. GossipKeysFile is a file of keys; empty keeps the keys in DataDir.
	GossipEncryption keyring.Mode
	GossipKeysFile   string

	// HoldRelease keeps the view's release at this number while this node is a member, so
	// that an older program can take the place of a newer one (W1). 0 holds nothing.
	HoldRelease uint32

	// Lease is the length of a view lease (V4). Fixed at the cluster's birth.
	Lease time.Duration
	// SeatGrace is how long an absent voter beyond three keeps its seat (V1).
	SeatGrace time.Duration
	// Partitions is P. Replicas is how many members keep a copy of every lock; 0 is
	// one more than a quorum of the voters can lose, and at least 2 (protocol, "R").
	// Both are fixed at the cluster's birth.
	Partitions, Replicas int

	// DefaultTTL and MaxTTL bound a lock's life. MaxTTL is fixed at the
	// cluster's birth and is the length of a quarantine.
	DefaultTTL, MaxTTL time.Duration
	// MaxHold is the longest that a hold which this node grants may last, however often it
	// is renewed; 0 is no limit.
	MaxHold time.Duration
	// DefaultWait and MaxWait bound the wait of an acquire.
	DefaultWait, MaxWait time.Duration
	// MaxWaitersPerKey bounds the queue of one key.
	MaxWaitersPerKey int
	// MaxLocks bounds the locks held or waited for at this node's partitions; 0
	// is no limit.
	MaxLocks int

	// MaxConnections bounds the connections of clients, and MaxSessions their sessions; 0 is no
	// bound.
	MaxConnections, MaxSessions int

	// HistoryBytes bounds what this node keeps of ended holds, and HistoryKeep for how long it keeps it;
	// 0 bytes keep nothing. Without a data directory it is kept in memory, at most 16 MiB.
	HistoryBytes int64
	HistoryKeep  time.Duration

	// ShutdownTimeout bounds Node.Stop: leaving, and finishing open calls.
	ShutdownTimeout time.Duration
	// Reflection serves gRPC server reflection.
	Reflection bool
	// Metrics counts calls and serves all metrics of the node at /metrics of the HTTP port.
	Metrics bool

	// Dashboard serves the page for people on the HTTP port, at /.
	Dashboard bool

	// OpsListen is the address of a port without TLS and credentials for probes and Prometheus:
	// /healthz and /readyz. DebugListen is that of pprof. Empty is off.
	OpsListen, DebugListen string
	// Audit records who did what; nil records nothing. The caller closes it.
	Audit *audit.Log
	// TracerProvider gets the spans of requests; nil is none. TraceKeys says that spans have the keys
	// of locks, which may be personal data.
	TracerProvider trace.TracerProvider
	TraceKeys      bool
	// Trouble is called with what has begun to be wrong: the code of a condition, or "stall". It must
	// not block; nil is not called.
	Trouble func(what string)
	// LogLevel is the level of Logger, if it may be changed while the node runs.
	LogLevel *slog.LevelVar
	// Debug returns more files of a debugging archive, by name; nil has none.
	Debug func() iter.Seq2[string, func(io.Writer) error]

	// Logger gets the node's log; nil drops it.
	Logger *slog.Logger
	// Network carries all of the node's traffic; nil is the system's.
	Network network.Network
	// Clock is read for every deadline; nil is the system's clock that counts
	// suspended time.
	Clock func() time.Duration

	// Hooks is for the tests of this module, which alone can make one; nil in production.
	Hooks *meshhook.Hooks
}

// DefaultConfig is the configuration of the README's table. Name and Seeds are
// left to the caller.
func DefaultConfig() Config {
	return Config{
		DataDir:          "./data",
		Cluster:          "sharelock",
		HTTPListen:       ":50051",
		GRPCListen:       ":50052",
		PeerListen:       ":50053",
		GossipListen:     ":7946",
		Lease:            2 * time.Second,
		SeatGrace:        10 * time.Minute,
		Partitions:       1024,
		DefaultTTL:       60 * time.Second,
		MaxTTL:           60 * time.Second,
		DefaultWait:      10 * time.Second,
		MaxWait:          10 * time.Minute,
		MaxWaitersPerKey: 10000,
		HistoryBytes:     64 << 20,
		HistoryKeep:      24 * time.Hour,
		MaxConnections:   10000,
		MaxSessions:      10000,
		ShutdownTimeout:  30 * time.Second,
		Reflection:       true,
		Dashboard:        true,
		Metrics:          true,
	}
}
