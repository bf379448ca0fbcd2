package sessionwire

import (
	"fmt"
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
)

// A session message with n acquires, encoded and decoded, and the answers to them: the cost of a batch for
// each of its calls.
func BenchmarkSession(b *testing.B) {
	for _, n := range []int{1, 64, 1024} {
		b.Run(fmt.Sprintf("calls=%d", n), func(b *testing.B) {
			call := Call{Kind: CallAcquire, AcquireRequest: sharelock.AcquireRequest{
				Key: "orders/0123456789", ClientID: "worker@host:4711", RequestID: "abcdefghijklmnop.1zz", TTL: 10 * time.Second, Wait: time.Minute,
			}}
			reply := Reply{Hold: sharelock.Hold{Token: 1 << 60, TTL: 10 * time.Second, ExpiresIn: 11 * time.Second, SafeFor: 10 * time.Second, Node: "node-0"}}
			var (
				calls   CallReader
				replies ReplyReader
				data    []byte
			)
			b.ReportAllocs()
			for b.Loop() {
				data = data[:0]
				for id := range n {
					call.ID = uint64(id)
					data = AppendCall(data, &call)
				}
				got := 0
				calls.Reset(data)
				for c := (Call{}); ; got++ {
					if more, err := calls.Next(&c); err != nil {
						b.Fatal(err)
					} else if !more {
						break
					}
				}
				data = data[:0]
				for id := range n {
					reply.ID = uint64(id)
					data = AppendReply(data, &reply)
				}
				replies.Reset(data)
				for r := (Reply{}); ; got++ {
					if more, err := replies.Next(&r); err != nil {
						b.Fatal(err)
					} else if !more {
						break
					}
				}
				if got != 2*n {
					b.Fatalf("%d calls and answers, want %d", got, 2*n)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/call")
		})
	}
}
