package cluster_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/sgkandale/sharelock/client"
	"github.com/sgkandale/sharelock/internal/cluster"
	"github.com/sgkandale/sharelock/internal/sessionwire"
	sharelockv1 "github.com/sgkandale/sharelock/proto/sharelock/v1"
)

// BenchmarkWatchers acquires and releases locks, with 64 workers, beside watches over gRPC at all of
// three nodes, in one process: no watches; one of all keys; and 10,000 of one key, which is acquired
// and released once a second. "told" is the number of events that each watch got for each pair, and
// "resets" how often watches were reset. Compare the cases in one run: -benchtime 5s -count 3.
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
		name    string
		watches int
		of      *sharelockv1.WatchRequest
	}{
		{name: "none"},
		{"all=1", 1, &sharelockv1.WatchRequest{}},
		{"key=10000", 10_000, &sharelockv1.WatchRequest{Key: "watched"}},
	} {
		b.Run(bc.name, func(b *testing.B) {
			w := watchAll(b, addrs, bc.watches, bc.of)
			defer w.stop()
			w.run.Go(func() { w.handOver(cl, "watched") })
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
			if bc.watches > 0 {
				b.ReportMetric(float64(w.told.Load())/float64(bc.watches)/float64(b.N), "told")
				b.ReportMetric(float64(w.resets.Load()), "resets")
			}
		})
	}
}

// crowd is a set of watches that count their events.
type crowd struct {
	ctx    context.Context //nolint:containedctx // the lifetime of the watches
	cancel context.CancelFunc
	run    sync.WaitGroup
	// told counts events of locks, resets those with which a watch starts again.
	told, resets atomic.Int64
}

// perConnection is less than the number of streams that a connection may have.
const perConnection = 900

// watchAll starts n watches, and returns when all are in sync.
func watchAll(b *testing.B, addrs []string, n int, r *sharelockv1.WatchRequest) *crowd {
	w := &crowd{}
	w.ctx, w.cancel = context.WithCancel(b.Context())
	var synced sync.WaitGroup
	var locks sharelockv1.LockServiceClient
	for i := range n {
		if i%perConnection == 0 {
			conn, err := grpc.NewClient("passthrough:///"+addrs[i/perConnection%len(addrs)], grpc.WithTransportCredentials(insecure.NewCredentials()))
			if err != nil {
				b.Fatal(err)
			}
			w.run.Go(func() {
				<-w.ctx.Done()
				_ = conn.Close()
			})
			locks = sharelockv1.NewLockServiceClient(conn)
		}
		if i%100 == 0 {
			synced.Wait() // limits how many start at once
		}
		synced.Add(1)
		w.run.Go(func() { w.follow(b, locks, r, synced.Done) })
	}
	synced.Wait()
	w.told.Store(0)
	return w
}

// follow counts the events of one watch. On a busy machine a node may lose its lease, which ends its
// watches; follow starts them again.
func (w *crowd) follow(b *testing.B, locks sharelockv1.LockServiceClient, r *sharelockv1.WatchRequest, synced func()) {
	once := sync.OnceFunc(synced)
	defer once()
	for w.ctx.Err() == nil {
		if err := w.listen(locks, r, once); w.ctx.Err() == nil && status.Code(err) != codes.Unavailable {
			b.Error(err)
			return
		}
		w.resets.Add(1)
	}
}

// listen is follow until the watch ends.
func (w *crowd) listen(locks sharelockv1.LockServiceClient, r *sharelockv1.WatchRequest, synced func()) error {
	// The messages are not decoded, because that would be most of the cost.
	stream, err := locks.Watch(w.ctx, r, grpc.ForceCodecV2(sessionwire.RawCodec{}))
	var f sessionwire.Frame
	for err == nil {
		if err = stream.RecvMsg(&f); err != nil {
			break
		}
		switch sharelockv1.WatchEvent_Type(f.Data[1]) { // the first field
		case sharelockv1.WatchEvent_SYNCED:
			synced()
		case sharelockv1.WatchEvent_ACQUIRED, sharelockv1.WatchEvent_RELEASED:
			w.told.Add(1)
		case sharelockv1.WatchEvent_RESET:
			w.resets.Add(1)
		}
	}
	return err
}

// handOver acquires and releases a key once a second.
func (w *crowd) handOver(cl *client.Client, key string) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-w.ctx.Done():
			return
		}
		if l, err := cl.Acquire(w.ctx, key); err == nil {
			_ = l.Release(w.ctx)
		}
	}
}

func (w *crowd) stop() {
	w.cancel()
	w.run.Wait()
}
