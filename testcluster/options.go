package testcluster

import (
	"context"
	"io"
	"log/slog"
	"time"

	"github.com/sgkandale/sharelock/internal/cluster"
	"github.com/sgkandale/sharelock/mesh"
)

// TB is the part of testing.TB that a cluster uses. *testing.T, *testing.B and *testing.F implement it.
// Its methods are called only in the goroutine of the test.
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

// Net is the kind of network that connects the nodes of a cluster.
type Net int

// The networks. The zero value is Loopback.
const (
	// Loopback uses sockets of this machine. The system chooses the ports, and a node keeps its
	// ports when it restarts.
	Loopback Net = iota
	// Memory is a network in memory. Its links can be cut, and a cluster that uses it can run in
	// a bubble of testing/synctest.
	Memory
)

// Options are the settings of a cluster. The zero value is a cluster of three nodes on loopback.
type Options struct {
	// Nodes is the number of nodes that found the cluster; 0 means 3.
	Nodes int
	// Net is the network that connects the nodes.
	Net Net
	// Timing is the length of the view lease, from which all other intervals of the mesh derive:
	// a crash is noticed after about one Timing. 0 means 500 ms; the minimum is 200 ms.
	Timing time.Duration
	// MaxTTL is the longest and the default TTL of a lock. Keys whose state was lost stay in
	// quarantine for 1.1 times as long. 0 means 2 s; the minimum is 1 s.
	MaxTTL time.Duration
	// Seed determines the random choices of the cluster. 0 means a random seed, which a failing
	// test prints.
	Seed uint64
	// Configure, if set, may change the configuration of node i before each of its starts.
	// Package mesh makes no promise of compatibility.
	Configure func(i int, cfg *mesh.Config)
	// Logs, if set, receives the log lines of all nodes as they are written. The last lines are
	// kept for the report of a failure in any case.
	Logs io.Writer
	// LogLevel is the minimum level of the lines that are kept and written.
	LogLevel slog.Level
	// Without names invariants that are not checked.
	Without []Invariant
}

func (o Options) internal() cluster.Options {
	in := cluster.Options{
		Nodes: o.Nodes, Net: cluster.Loopback, Timing: o.Timing, MaxTTL: o.MaxTTL, Seed: o.Seed,
		Configure: o.Configure, Logs: o.Logs, LogLevel: o.LogLevel,
	}
	if o.Net == Memory {
		in.Net = cluster.Memory
	}
	for _, i := range o.Without {
		in.Without = append(in.Without, cluster.Invariant(i))
	}
	return in
}
