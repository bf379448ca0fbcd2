package machine

import (
	"cmp"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
)

func TestContention(t *testing.T) {
	p := newPlay(t, 10)
	ask := func(key, id string, slots uint32) {
		t.Helper()
		p.step(reader, Request{
			Kind: Acquire, Key: key, ClientID: id, RequestID: key + id, TTL: time.Hour, Wait: time.Hour, Slots: slots, Send: 1,
		})
	}
	ask("free", "a", 0)
	ask("semaphore", "a", 2)
	ask("long", "a", 0)
	ask("long", "b", 0)
	p.pass(2 * time.Second)
	ask("long", "c", 0)
	ask("short", "a", 0)
	ask("short", "b", 0)
	p.pass(time.Second)

	var got []sharelock.Contention
	if left := p.m.Contention(p.now, math.MaxInt, func(c sharelock.Contention) { got = append(got, c) }); left != 0 {
		t.Errorf("%d claims are left", left)
	}
	slices.SortFunc(got, func(a, b sharelock.Contention) int { return cmp.Compare(a.Key, b.Key) })
	want := []sharelock.Contention{
		{Key: "long", Holds: 1, Waiters: 2, LongestWait: 3 * time.Second},
		{Key: "short", Holds: 1, Waiters: 1, LongestWait: time.Second},
	}
	if !slices.Equal(got, want) {
		t.Errorf("contention is %v, want %v", got, want)
	}
}
