package cluster

import (
	"context"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/sgkandale/sharelock/mesh"
)

// TB is the part of testing.TB that a cluster needs; *testing.T, *testing.B and *testing.F
// have it. Its methods are called only from the test's goroutine.
type TB interface {
	Helper()
	Logf(format string, args ...any)
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Cleanup(f func())
	Failed() bool
	TempDir() string
	Context() context.Context
}

// Net is the network that connects the nodes of a cluster.
type Net int

// The networks. The zero value is Loopback.
const (
	// Loopback uses sockets of this machine, at ports that the system chooses and that stay
	// the same when a node restarts.
	Loopback Net = iota
	// Memory is a [MemNet]: links can be cut, and a cluster can run in a bubble of
	// testing/synctest.
	Memory
)

// TLS says which connections of a cluster use TLS.
type TLS int

// The values of TLS. The zero value is NoTLS.
const (
	NoTLS TLS = iota
	// TLSMembers: connections between nodes.
	TLSMembers
	// TLSAll: connections between nodes, and those of clients.
	TLSAll
	// TLSMutual is TLSAll with certificates required from clients.
	TLSMutual
)

// Invariant names a property that is checked when a test ends. [Options].Without leaves
// invariants out, by name.
type Invariant string

// The invariants.
const (
	// OneHolder: clients that believe at the same time that they hold a key may hold it
	// together. A client believes so from the answer to its acquire until it sends the
	// release, or until the safe time in an answer is over, counted from the send of the
	// request that it answers (Q3).
	OneHolder Invariant = "one-holder"
	// TokensGrow: a grant that was requested after another grant of the key was answered has
	// a larger token.
	TokensGrow Invariant = "tokens-grow"
	// OneGrant: a request id gets only one token (Q2), unless state is lost.
	OneGrant Invariant = "one-grant"
	// Fair: of two waiters that were seen in a queue and stayed, the first is granted first.
	Fair Invariant = "fair"
	// OneOwner: at most one process is active in a partition in one epoch.
	OneOwner Invariant = "one-owner"
	// EqualCopies: while nothing happens, the backups' copies are equal to their owner's. Only
	// [Cluster.CheckCopies] checks this.
	EqualCopies Invariant = "equal-copies"
	// Told: a watch gets the events of a key in order, and without gaps between synced and the
	// next reset or move. A hold that has ended is not reported as held again. A grant that was
	// reported belongs to a request that has no other grant.
	Told Invariant = "told"
	// Past: nodes name as past holders of a key the clients that relied on it then. Only
	// [Cluster.CheckPast] checks this.
	Past Invariant = "past"
	// Linearizable: the calls of every key have an order that explains all answers, see
	// package linear. It cannot be checked if clients of the cluster are not recorded in its
	// History, or if nodes are called directly.
	Linearizable Invariant = "linearizable"
	// Consistent: mesh.Node.Check finds nothing on the running nodes.
	Consistent Invariant = "consistent"
	// NoLeaks: no goroutine of the cluster outlives Close.
	NoLeaks Invariant = "no-leaks"
)

// Options configure a cluster. The zero value means three nodes on loopback.
type Options struct {
	// Nodes is how many nodes found the cluster; 0 means 3.
	Nodes int
	// Net is the network between them.
	Net Net
	// Timing is the length of the view lease, from which all other intervals of the mesh are
	// derived. A crash is noticed after about one lease. 0 means 500 ms; the minimum is 200 ms.
	Timing time.Duration
	// MaxTTL is the longest TTL and the default TTL. Keys whose state was lost stay in
	// quarantine for 1.1 times MaxTTL. 0 means 2 s; the minimum is 1 s.
	MaxTTL time.Duration
	// Seed seeds all random choices of the harness. 0 means a random seed, which a failed test
	// prints.
	Seed uint64
	// TLS says which connections use TLS. An authority that is created for the cluster signs the
	// certificates; see [Cluster.Certify].
	TLS TLS
	// Configure may change the configuration of node i before each of its starts.
	Configure func(i int, cfg *mesh.Config)
	// Logs receives the log lines of all nodes as they are written. If it is nil, the last
	// lines are kept for the report of a failure.
	Logs io.Writer
	// LogLevel is the lowest level of the lines that are kept or written.
	LogLevel slog.Level
	// Without lists invariants that are not checked.
	Without []Invariant
}

func (o Options) withDefaults() Options {
	if o.Nodes == 0 {
		o.Nodes = 3
	}
	if o.Timing == 0 {
		o.Timing = 500 * time.Millisecond
	}
	if o.MaxTTL == 0 {
		o.MaxTTL = 2 * time.Second
	}
	for o.Seed == 0 {
		o.Seed = rand.Uint64()
	}
	return o
}

func (o Options) checks(i Invariant) bool { return !slices.Contains(o.Without, i) }
