package frame

import (
	"fmt"
	"net"
	"testing"
	"time"
)

// A message to the other end and back over loopback, by size.
func BenchmarkRoundTrip(b *testing.B) {
	for _, n := range []int{64, 4 << 10, 64 << 10} {
		b.Run(fmt.Sprintf("bytes=%d", n), func(b *testing.B) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				b.Fatal(err)
			}
			defer l.Close() //nolint:errcheck // of a listener
			go func() {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				for c := New(conn, most, time.Minute); ; {
					m, err := c.Recv()
					if err != nil || c.Send(m) != nil {
						return
					}
				}
			}()
			conn, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				b.Fatal(err)
			}
			c := New(conn, most, time.Minute)
			defer c.Close() //nolint:errcheck // it ends the other end, too
			message := make([]byte, n)
			b.ReportAllocs()
			b.SetBytes(int64(2 * n))
			for b.Loop() {
				if err := c.Send(message); err != nil {
					b.Fatal(err)
				}
				if m, err := c.Recv(); err != nil || len(m) != n {
					b.Fatal(len(m), err)
				}
			}
		})
	}
}
