package cluster_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sgkandale/sharelock/client"
	"github.com/sgkandale/sharelock/internal/cluster"
	"github.com/sgkandale/sharelock/internal/invariant"
	"github.com/sgkandale/sharelock/internal/virtual"
)

// throttled is a connection whose directions carry a limited number of bytes a second; 0 is no
// limit. It buffers a few KiB that it has not carried yet, like a good router.
type throttled struct {
	net.Conn
	up, down int
}

const throttlePiece = 2 << 10

func carry(n, rate int) {
	if rate > 0 {
		time.Sleep(time.Duration(n) * time.Second / time.Duration(rate))
	}
}

// Write implements net.Conn.
func (c throttled) Write(b []byte) (n int, err error) {
	for len(b) > 0 {
		piece := b[:min(len(b), throttlePiece)]
		carry(len(piece), c.up)
		m, err := c.Conn.Write(piece)
		if n += m; err != nil {
			return n, err
		}
		b = b[len(piece):]
	}
	return n, nil
}

// Read implements net.Conn.
func (c throttled) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b[:min(len(b), throttlePiece)])
	carry(n, c.down)
	return n, err
}

// A burst over a slow line does not cost its client the locks that it holds: messages that keep them
// alive go first, in both directions.
func TestSimBurstKeepsLocks(t *testing.T) {
	type burst struct {
		name     string
		calls    int
		metadata int // bytes
		wait     time.Duration
		held     bool // all acquires use one key
	}
	row := 0
	for _, line := range []struct {
		name     string
		up, down int
	}{
		{"up", 500_000, 0}, {"down", 0, 300_000}, {"both", 300_000, 300_000},
	} {
		for _, b := range []burst{
			{name: "metadata", calls: 3000, metadata: 2000},
			{name: "tries", calls: 20_000, held: true},
			{name: "waiters", calls: 5000, wait: 5 * time.Second, held: true},
		} {
			for _, transport := range []client.Transport{client.TransportPlain, client.TransportGRPC} {
				if row++; sparse(row - 1) {
					continue
				}
				t.Run(fmt.Sprint(line.name, "/", b.name, "/", transport), func(t *testing.T) {
					virtual.Test(t, func(t *testing.T) {
						c := cluster.Start(inRAM(t), cluster.Options{
							Net: cluster.Memory, Nodes: 1, Timing: sceneLease, MaxTTL: sceneMax,
						})
						must(t, c.WaitReady(t.Context()))
						cl, err := c.Dial(t.Context(), client.Options{
							ClientID: "burst", Transport: transport, Patience: time.Minute,
							Dialer: func(ctx context.Context, addr string) (net.Conn, error) {
								conn, err := c.DialContext(ctx, addr)
								return throttled{conn, line.up, line.down}, err
							},
						})
						must(t, err)
						own, err := cl.Acquire(t.Context(), "own", client.TTL(6*time.Second))
						must(t, err)
						if b.held {
							_, err := c.Client(0).Acquire(t.Context(), "held", client.TTL(sceneMax))
							must(t, err)
						}
						opts := []client.Option{client.Wait(b.wait), client.TTL(sceneMax), client.NoRenew()}
						if b.metadata > 0 {
							opts = append(opts, client.Metadata(map[string]string{"m": strings.Repeat("x", b.metadata)}))
						}
						var work sync.WaitGroup
						for i := range b.calls {
							work.Go(func() {
								key := fmt.Sprint("k", i)
								if b.held {
									key = "held"
								}
								_, _ = cl.Acquire(t.Context(), key, opts...)
							})
						}
						work.Wait()
						if err := own.Err(); err != nil {
							t.Errorf("%s: the client's own lock: %v", invariant.OnTime, err)
						}
					})
				})
			}
		}
	}
}
