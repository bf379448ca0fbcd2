package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

const (
	// heapFloor is the size below which the heap is not worth collecting. A node that
	// holds few locks lives in some megabytes, all of which Go's default would go
	// through many times a second under load: a quarter of all processor time.
	heapFloor = 64 << 20
	// heapGrowth is Go's own pace for larger heaps, in percent.
	heapGrowth = 100
)

// paceHeap lets the heap grow to heapFloor before garbage is collected, and leaves
// larger heaps to Go. A GOGC in the environment is the operator's word, and stays. It
// works until stop is called.
func paceHeap() (stop func()) {
	if os.Getenv("GOGC") != "" {
		return func() {}
	}
	before := debug.SetGCPercent(heapPercent(liveHeap()))
	done := make(chan struct{})
	var watch func(*[16]byte)
	watch = func(sentinel *[16]byte) {
		select {
		case <-done:
		default:
			debug.SetGCPercent(heapPercent(liveHeap()))
			runtime.SetFinalizer(sentinel, watch)
		}
	}
	// Nobody refers to it, so its finalizer runs after every collection.
	runtime.SetFinalizer(new([16]byte), watch)
	return func() {
		close(done)
		debug.SetGCPercent(before)
	}
}

// heapPercent is the GOGC with which a heap that has live bytes after a collection
// grows to the floor, or by heapGrowth.
func heapPercent(live uint64) int {
	if live == 0 {
		live = 4 << 20 // Go starts as if it had that
	}
	if grown := live + live*heapGrowth/100; grown >= heapFloor {
		return heapGrowth
	}
	return int((heapFloor - live) * 100 / live)
}

// liveHeap is what the last collection has left.
func liveHeap() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	if sample[0].Value.Kind() != metrics.KindUint64 {
		return 0
	}
	return sample[0].Value.Uint64()
}
