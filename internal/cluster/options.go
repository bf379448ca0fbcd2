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

// TB is what a cluster needs of a test; *testing.T, *testing.B and *testing.F
// have it. Its methods are called from the test's goroutine only.
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

// Net is what the nodes of a cluster talk over.
type Net int

// The networks. The zero value is Loopback.
const (
	// Loopback is sockets of this machine, at ports that the system chooses and
	// that stay the same when a node restarts.
	Loopback Net = iota
	// Memory is a [MemNet]: links can be cut, and a cluster can live in a bubble of
	// testing/synctest.
	Memory
)

// TLS is who uses TLS in a cluster.
type TLS int

// Who uses TLS. The zero value is NoTLS.
const (
	NoTLS TLS = iota
	// TLSMembers are the nodes among themselves.
	TLSMembers
	// TLSAll are the nodes and the clients.
	TLSAll
	// TLSMutual is TLSAll, and the clients must show certificates.
	TLSMutual
)

// Invariant names something that is checked when a test ends. They can only be
// left out by name, with [Options].Without.
type Invariant string

// The invariants.
const (
	// OneHolder: at any moment the clients that believe to hold a key may hold it
	// together. A client believes so from the answer to its acquire until it sends
	// the release, or until the last moment that an answer called safe, counted from
	// the send of what it answers (Q3).
	OneHolder Invariant = "one-holder"
	// TokensGrow: what was granted after another grant of the key had been answered
	// has a larger token.
	TokensGrow Invariant = "tokens-grow"
	// OneGrant: a request id gets one token (Q2), as long as no state is lost.
	OneGrant Invariant = "one-grant"
	// Fair: of two waiters that were seen in a queue and stayed, the first is granted
	// first.
	Fair Invariant = "fair"
	// OneOwner: at most one process is active in a partition in one epoch.
	OneOwner Invariant = "one-owner"
	// EqualCopies: when nothing is going on, the backups' copies are their owner's. It
	// is checked by [Cluster.CheckCopies] only.
	EqualCopies Invariant = "equal-copies"
	// Told: what watches are told of a key is in its order and leaves nothing out between
	// synced and the next reset or move; what has ended is not held again; and a grant that
	// was told is that of a request which was not granted otherwise.
	Told Invariant = "told"
	// Past: who nodes say has held a key is who relied on it then. It is checked by
	// [Cluster.CheckPast] only.
	Past Invariant = "past"
	// Linearizable: the calls of every key have an order that explains all answers.
	// See package linear. A cluster whose clients are not all in its History, or that
	// is called directly, cannot be checked for it.
	Linearizable Invariant = "linearizable"
	// Consistent: mesh.Node.Check finds nothing on the nodes that run.
	Consistent Invariant = "consistent"
	// NoLeaks: no goroutine of the cluster outlives Close.
	NoLeaks Invariant = "no-leaks"
)

// Options say what cluster to start. The zero value is one of three nodes on
// loopback.
type Options struct {
	// Nodes is how many nodes found the cluster; 0 is 3.
	Nodes int
	// Net is what they talk over.
	Net Net
	// Timing is the length of the view lease, from which every other interval of
	// the mesh derives: a crash is noticed after about one of it. 0 is 500 ms; the
	// least is 200 ms.
	Timing time.Duration
	// MaxTTL is the longest TTL, the default TTL, and (times 1.1) how long keys stay
	// in quarantine when their state was lost. 0 is 2 s; the least is 1 s.
	MaxTTL time.Duration
	// Seed decides everything that the harness leaves to chance. 0 is a random one;
	// a test that fails prints it.
	Seed uint64
	// TLS is who uses it. The certificates are signed by one authority, which is made for the
	// cluster; see [Cluster.Certify].
	TLS TLS
	// Configure may change the configuration of node i before each of its starts.
	Configure func(i int, cfg *mesh.Config)
	// Logs gets the log lines of all nodes as they come. Nil keeps the last ones,
	// for the report of a failure.
	Logs io.Writer
	// LogLevel is the least level of the lines that are kept or written.
	LogLevel slog.Level
	// Without leaves out invariants.
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
