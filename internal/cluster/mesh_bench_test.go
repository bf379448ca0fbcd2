package cluster_test

import (
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/sgkandale/sharelock/client"
	"github.com/sgkandale/sharelock/internal/cluster"
)

// BenchmarkMesh takes locks and gives them back, with a client and three nodes in this
// process that talk over loopback: the whole way of a call, from the client to the owner,
// its backup and back. Its profile is the one that the nodes are built with, see
// scripts/profile.
func BenchmarkMesh(b *testing.B) {
	c := cluster.Start(b, cluster.Options{Nodes: 3})
	var addrs []string
	for i := range c.Len() {
		addrs = append(addrs, c.Addrs(i).GRPC)
	}
	cl, err := client.Dial(b.Context(), addrs, client.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = cl.Close() })
	for _, workers := range []int{1024, 64} {
		b.Run(fmt.Sprint("workers=", workers), func(b *testing.B) {
			var last atomic.Int64
			b.ReportAllocs()
			b.SetParallelism(workers / runtime.GOMAXPROCS(0))
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
