package main

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"
)

func TestHeapPercent(t *testing.T) {
	for _, tt := range []struct {
		live uint64
		want int
	}{
		{0, 1500},       // 4 MiB are assumed
		{4 << 20, 1500}, // 4 + 60
		{16 << 20, 300}, // 16 + 48
		{heapFloor / 2, 100},
		{heapFloor, 100},
		{1 << 40, 100},
	} {
		if got := heapPercent(tt.live); got != tt.want {
			t.Errorf("heapPercent(%d) = %d, want %d", tt.live, got, tt.want)
		}
	}
}

// heapGoal is the size at which the next collection begins.
func heapGoal() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/goal:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

func TestPaceHeap(t *testing.T) {
	t.Setenv("GOGC", "50")
	before := debug.SetGCPercent(100)
	defer debug.SetGCPercent(before)
	paceHeap()()
	if got := debug.SetGCPercent(100); got != 100 {
		t.Errorf("with GOGC in the environment it was set to %d", got)
	}
	t.Setenv("GOGC", "")
	stop := paceHeap()
	// The pace is set anew after every collection, by a finalizer: the next one waits
	// for the one before.
	for range 3 {
		runtime.GC()
		again := make(chan struct{})
		runtime.SetFinalizer(new([16]byte), func(*[16]byte) { close(again) })
		runtime.GC()
		<-again
	}
	if goal := heapGoal(); goal < heapFloor*9/10 {
		t.Errorf("the next collection begins at %d bytes, want %d", goal, heapFloor)
	}
	stop()
	if got := debug.SetGCPercent(100); got != 100 {
		t.Errorf("after stop GOGC is %d, not what it was before", got)
	}
}
