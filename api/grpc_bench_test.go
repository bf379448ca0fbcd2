package api

import (
	"fmt"
	"sync/atomic"
	"testing"

	pb "github.com/sgkandale/sharelock/proto/sharelock/v1"
)

// BenchmarkGRPC acquires and releases a lock by unary calls, of many concurrent callers, at a node that
// does almost nothing: most of the cost is grpc-go's, at both ends.
func BenchmarkGRPC(b *testing.B) {
	c := dialFake(b, newFake(), Options{})
	var callers atomic.Int64
	b.ReportAllocs()
	b.SetParallelism(32)
	b.RunParallel(func(p *testing.PB) {
		key := fmt.Sprint("orders/", callers.Add(1))
		for p.Next() {
			r, err := c.locks.Acquire(b.Context(), &pb.AcquireRequest{Key: key, ClientId: "bench"})
			if err != nil {
				b.Error(err)
				return
			}
			if _, err := c.locks.Release(b.Context(), &pb.ReleaseRequest{Key: key, Token: r.GetHold().GetToken()}); err != nil {
				b.Error(err)
				return
			}
		}
	})
}
