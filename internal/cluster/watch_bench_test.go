package cluster_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sgkandale/sharelock/client"
	"github.com/sgkandale/sharelock/internal/cluster"
)

// BenchmarkWatchers is BenchmarkMesh with 64 workers, beside watches over server-sent events at all
// nodes. Compare the cases in one run, best with -count; run it with -benchtime 5s or more.
func BenchmarkWatchers(b *testing.B) {
	c := cluster.Start(b, cluster.Options{Nodes: 3, Timing: 2 * time.Second, MaxTTL: time.Minute})
	var addrs []string
	for i := range c.Len() {
		addrs = append(addrs, c.Addrs(i).GRPC)
	}
	cl, err := client.Dial(b.Context(), addrs, client.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = cl.Close() })
	for _, bc := range []struct {
		name  string
		count int
		query string
	}{
		{"none", 0, ""},
		{"all=1", 1, "prefix="},
	} {
		b.Run(bc.name, func(b *testing.B) {
			var r readers
			r.start(b, c, bc.count, bc.query)
			var last atomic.Int64
			b.SetParallelism(32)
			b.ResetTimer()
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
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "pairs/s")
			b.ReportMetric(float64(r.events.Load())/float64(b.N), "events/op")
			r.stop()
		})
	}
}

type readers struct {
	events, resets atomic.Int64
	cancel         context.CancelFunc
	ended          chan struct{}
	n              int
}

func (r *readers) start(b *testing.B, c *cluster.Cluster, n int, query string) {
	ctx, cancel := context.WithCancel(b.Context())
	r.cancel, r.ended, r.n = cancel, make(chan struct{}, n), n
	for i := range n {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+c.Addrs(i%3).HTTP+"/v1/events?"+query, nil)
		if err != nil {
			b.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			b.Fatal(err)
		}
		go func() {
			defer func() { r.ended <- struct{}{} }()
			defer resp.Body.Close()
			buf := make([]byte, 64<<10)
			for {
				n, err := resp.Body.Read(buf)
				r.events.Add(int64(bytes.Count(buf[:n], []byte("event: "))))
				r.resets.Add(int64(bytes.Count(buf[:n], []byte("event: reset"))))
				if err == io.EOF || err != nil {
					return
				}
			}
		}()
	}
}

func (r *readers) stop() {
	r.cancel()
	for range r.n {
		<-r.ended
	}
}
