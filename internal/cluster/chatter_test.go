package cluster_test

import (
	"context"
	"encoding/binary"
	"net"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc"

	"github.com/sgkandale/sharelock/client"
	"github.com/sgkandale/sharelock/internal/cluster"
)

// pings counts HTTP/2 pings, except answers, in one direction of a connection.
type pings struct {
	skip  int // bytes left of the preface or of a frame's payload
	head  []byte
	count *atomic.Int64
}

func (p *pings) see(b []byte) {
	const headSize, typePing = 9, 6
	for len(b) > 0 {
		if n := min(p.skip, len(b)); n > 0 {
			p.skip -= n
			b = b[n:]
			continue
		}
		p.head, b = append(p.head, b[0]), b[1:]
		if len(p.head) < headSize {
			continue
		}
		if isAnswer := p.head[4]&1 != 0; p.head[3] == typePing && !isAnswer {
			p.count.Add(1)
		}
		p.skip = int(binary.BigEndian.Uint32(p.head) >> 8)
		p.head = p.head[:0]
	}
}

// watched is a client's connection whose pings are counted.
type watched struct {
	net.Conn
	sent, got pings
}

func (w *watched) Write(b []byte) (int, error) {
	n, err := w.Conn.Write(b)
	w.sent.see(b[:n])
	return n, err
}

func (w *watched) Read(b []byte) (int, error) {
	n, err := w.Conn.Read(b)
	w.got.see(b[:n])
	return n, err
}

// A call is one message to the owner and one back. gRPC's dynamic window sizing would add a ping
// and its answer to each.
func TestCallsWithoutChatter(t *testing.T) {
	c := cluster.Start(t, cluster.Options{Nodes: 1})
	var sent, got atomic.Int64
	cl, err := c.Dial(t.Context(), client.Options{DialOptions: []grpc.DialOption{
		grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) {
			var d net.Dialer
			conn, err := d.DialContext(ctx, "tcp", addr)
			return &watched{Conn: conn, sent: pings{skip: len("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), count: &sent}, got: pings{count: &got}}, err
		}),
	}}, 0)
	must(t, err)
	for range 100 {
		l, err := cl.Acquire(t.Context(), "k")
		must(t, err)
		must(t, l.Release(t.Context()))
	}
	if sent.Load()+got.Load() != 0 {
		t.Errorf("in 200 calls the client sent %d pings, the node %d", sent.Load(), got.Load())
	}
}
