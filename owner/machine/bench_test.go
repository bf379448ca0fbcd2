package machine

import (
	"fmt"
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/owner/ops"
)

func (o *Out) reset() { o.Ops, o.Replies = o.Ops[:0], o.Replies[:0] }

// BenchmarkAcquireRelease is the uncontended pair on a machine of a thousand keys,
// about what one of 1024 partitions has in a mesh with a million.
func BenchmarkAcquireRelease(b *testing.B) {
	m := heldMachine(1000)
	from := Ref{&listener{}, 1}
	acquire := Request{Kind: Acquire, Key: "bench", ClientID: "c", RequestID: "r", TTL: time.Minute, Send: 1}
	release := Request{Kind: Release, Key: "bench", SentOnce: true}
	var out Out
	b.ReportAllocs()
	for b.Loop() {
		out.reset()
		m.Step(0, from, &acquire, &out)
		release.Token = out.Replies[0].Holds[0].Token
		m.Step(0, from, &release, &out)
	}
}

// BenchmarkContended is a release that grants to the first of a hundred waiters,
// and the former holder queueing again.
func BenchmarkContended(b *testing.B) {
	m := New(0, 1000)
	m.Activate(0, 1, "n")
	from := Ref{&listener{}, 1}
	var out Out
	acquire := Request{Kind: Acquire, Key: "bench", ClientID: "c", TTL: time.Minute, Wait: time.Minute, Send: 1}
	ids := make([]string, 101)
	for i := range ids {
		ids[i] = fmt.Sprint("request-", i)
		acquire.RequestID = ids[i]
		m.Step(0, from, &acquire, &out)
	}
	token := sharelock.MakeToken(1, 1)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		out.reset()
		m.Step(0, from, &Request{Kind: Release, Key: "bench", Token: token, SentOnce: true}, &out)
		token = out.Replies[1].Holds[0].Token
		acquire.RequestID = ids[i%len(ids)]
		m.Step(0, from, &acquire, &out)
		i++
	}
}

func BenchmarkRenew(b *testing.B) {
	const n = 1000
	m := heldMachine(n)
	from := Ref{&listener{}, 1}
	requests := make([]Request, n)
	for i := range requests {
		requests[i] = Request{Kind: Renew, Key: benchKey(i), Token: sharelock.MakeToken(1, uint32(i+1)), TTL: time.Minute}
	}
	var out Out
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		out.reset()
		m.Step(time.Duration(i), from, &requests[i%n], &out)
		i++
	}
}

func BenchmarkEncode(b *testing.B) {
	const n = 1000
	m := heldMachine(n)
	b.ReportAllocs()
	size := 0
	for b.Loop() {
		size = len(m.Encode(0))
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/lock")
	b.ReportMetric(float64(size)/n, "bytes/lock")
}

func BenchmarkDecodeActivate(b *testing.B) {
	const n = 1000
	data := heldMachine(n).Encode(0)
	b.ReportAllocs()
	for b.Loop() {
		m := New(0, 0)
		if err := m.Decode(0, data); err != nil {
			b.Fatal(err)
		}
		m.Activate(0, 2, "n")
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/lock")
}

func BenchmarkApply(b *testing.B) {
	m := New(0, 0)
	b.ReportAllocs()
	i := uint32(0)
	for b.Loop() {
		i++
		grant := ops.Op{Kind: ops.Grant, Key: "bench", ClientID: "c", RequestID: "r", Token: sharelock.MakeToken(1, i), TTL: time.Minute}
		release := ops.Op{Kind: ops.Release, Key: "bench", Token: grant.Token, Why: ops.Released}
		if m.Apply(0, &grant) != nil || m.Apply(0, &release) != nil {
			b.Fatal("an op was refused")
		}
		m.Tidy()
	}
}

// BenchmarkMemory reports the bytes per held lock, its strings included: keys of
// 16 bytes, client ids of 16 that are not shared, request ids of 22.
func BenchmarkMemory(b *testing.B) {
	const machines, each = 100, 1000
	for b.Loop() {
		before := heapInUse()
		all := make([]*Machine, machines)
		for i := range all {
			all[i] = heldMachine(each)
		}
		b.ReportMetric(float64(heapInUse()-before)/machines/each, "bytes/lock")
		for _, m := range all {
			if m.Len() != each {
				b.Fatal("locks are missing")
			}
		}
	}
}

func benchKey(i int) string { return fmt.Sprintf("key-%012d", i) }

// heldMachine is an owner of n held locks.
func heldMachine(n int) *Machine {
	m := New(0, 100)
	m.Activate(0, 1, "n")
	from := Ref{&listener{}, 1}
	var out Out
	for i := range n {
		out.reset()
		m.Step(0, from, &Request{
			Kind: Acquire, Key: benchKey(i), ClientID: fmt.Sprintf("client-%09d", i),
			RequestID: fmt.Sprintf("request-%014d", i), TTL: time.Minute, Send: 1,
		}, &out)
	}
	return m
}
