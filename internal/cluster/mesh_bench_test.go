package cluster_test

import (
	"crypto/tls"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sgkandale/sharelock/client"
	"github.com/sgkandale/sharelock/internal/cluster"
)

// BenchmarkMesh acquires and releases locks, with a client and three nodes in this process that
// communicate over loopback: the whole way of a call, from the client to the owner, its backup and
// back. Its profile is used to build the nodes, see scripts/profile.
func BenchmarkMesh(b *testing.B) { benchmarkMesh(b, cluster.NoTLS, 1024, 64) }

// BenchmarkSecureMesh is BenchmarkMesh with TLS between the nodes and for the client, and also
// without TLS. Compare both in one run.
func BenchmarkSecureMesh(b *testing.B) {
	for name, who := range map[string]cluster.TLS{"tls=off": cluster.NoTLS, "tls=on": cluster.TLSAll} {
		b.Run(name, func(b *testing.B) { benchmarkMesh(b, who, 1024, 1) })
	}
}

func benchmarkMesh(b *testing.B, who cluster.TLS, workers ...int) {
	// A lease that a busy machine can renew: an election must not make TLS look slow.
	c := cluster.Start(b, cluster.Options{Nodes: 3, TLS: who, Timing: 2 * time.Second, MaxTTL: time.Minute})
	var addrs []string
	for i := range c.Len() {
		addrs = append(addrs, c.Addrs(i).GRPC)
	}
	var opts client.Options
	if who != cluster.NoTLS {
		opts.TLS = &tls.Config{RootCAs: c.CA().Pool()}
	}
	cl, err := client.Dial(b.Context(), addrs, opts)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = cl.Close() })
	for _, workers := range workers {
		b.Run(fmt.Sprint("workers=", workers), func(b *testing.B) {
			var last atomic.Int64
			b.ReportAllocs()
			b.SetParallelism(max(1, workers/runtime.GOMAXPROCS(0)))
			b.RunParallel(func(p *testing.PB) {
				key := fmt.Sprintf("orders/%08d", last.Add(1))
				for p.Next() {
					l, err := cl.Acquire(b.Context(), key)
					if err != nil {
						b.Error(err)
						return
					}
					if err := l.Release(b.Context()); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}
