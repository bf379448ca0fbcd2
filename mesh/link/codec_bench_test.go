package link

import (
	"fmt"
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/owner"
)

// A frame of a link with so many acquires, made and read, and the answers to them: what a
// batch costs for each of its calls.
func BenchmarkLinkFrames(b *testing.B) {
	for _, n := range []int{1, 64, 1024} {
		b.Run(fmt.Sprintf("calls=%d", n), func(b *testing.B) {
			call := forward{epoch: 7, req: &owner.Request{
				Kind: owner.Acquire, Key: "orders/0123456789", ClientID: "worker@host:4711", RequestID: "abcdefghijklmnop.1zz",
				TTL: 10 * time.Second, Wait: time.Minute, Send: 1, OwnID: true,
			}}
			answer := owner.Answer{Outcome: owner.Done, Send: 1, Holds: []sharelock.Hold{{
				Token: 1 << 60, ClientID: call.req.ClientID, RequestID: call.req.RequestID, TTL: 10 * time.Second, ExpiresIn: 11 * time.Second,
			}}}
			var (
				asked    requestFrame
				answered responseFrame
				frame    []byte
			)
			b.ReportAllocs()
			for b.Loop() {
				frame = frame[:0]
				for id := range n {
					call.id = uint64(id)
					frame = appendForward(frame, &call)
				}
				if err := asked.read(frame); err != nil || len(asked.forwards) != n {
					b.Fatal(len(asked.forwards), err)
				}
				frame = frame[:0]
				for id := range n {
					frame = appendReply(frame, uint64(id), 7, &answer)
				}
				if err := answered.read(frame, "node-0"); err != nil || len(answered.replies) != n {
					b.Fatal(len(answered.replies), err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/call")
		})
	}
}
