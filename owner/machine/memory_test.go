package machine

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/sgkandale/sharelock/owner/ops"
)

// BenchmarkHeldMillion reports what a million held locks cost an owner and a backup
// of them, in bytes per lock and copy: what is in use after a collection, and by
// how much the process has grown, garbage included. Keys have 16 bytes, the ids of
// 100 clients too, and request ids are as package client makes them.
func BenchmarkHeldMillion(b *testing.B) {
	const machines, each = 1024, 1000
	for b.Loop() {
		heap, resident := heapInUse(), residentBytes(b)
		owners, backups := make([]*Machine, machines), make([]*Machine, machines)
		for i := range machines {
			owners[i], backups[i] = New(uint32(i), 0), New(uint32(i), 0)
			owners[i].Activate(0, 1, "n")
		}
		from := Ref{&listener{}, 1}
		var out Out
		var wire []byte
		for i := range machines * each {
			o, k := owners[i%machines], backups[i%machines]
			out.reset()
			o.Step(0, from, &Request{
				Kind: Acquire, Key: benchKey(i), ClientID: fmt.Sprintf("client-%09d", i%100),
				RequestID: fmt.Sprintf("%016d.%d", i%100, i), TTL: time.Minute, Send: 1,
			}, &out)
			wire = out.Ops[0].Append(wire[:0])
			var op ops.Op
			if _, err := op.Decode(wire); err != nil {
				b.Fatal(err)
			}
			if err := k.Apply(0, &op); err != nil {
				b.Fatal(err)
			}
		}
		grown := residentBytes(b) - resident
		b.ReportMetric(float64(heapInUse()-heap)/(2*machines*each), "heap-B/copy")
		b.ReportMetric(float64(grown)/(2*machines*each), "RSS-B/copy")
		for i := range machines {
			if owners[i].Len() != each || backups[i].Len() != each {
				b.Fatal("locks are missing")
			}
		}
	}
}

// residentBytes is the memory of this process that is in RAM.
func residentBytes(b *testing.B) int64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Skip("needs Linux: ", err)
	}
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	var kib int64
	if _, err := fmt.Sscan(rest, &kib); err != nil {
		b.Fatal(err)
	}
	return kib << 10
}
