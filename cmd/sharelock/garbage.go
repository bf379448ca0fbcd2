package main

import (
	"runtime"
	"runtime/debug"
	"strings"
)

const (
	// gcPercent is how much garbage a node lets pile up, in percent of what lives.
	// Go's own default is 100. Nearly all that lives in a big node are its locks, at
	// which the collector need not look: a collection costs little there, and the memory
	// much.
	gcPercent = 50
	// gcBallast counts as living, so that a small node does not collect its few
	// megabytes all the time. It is never written, so it takes no memory.
	gcBallast = 64 << 20
)

// limitGarbage sets how much garbage this process lets pile up, until end is
// called. Whoever has set Go's own variables knows better.
func limitGarbage(environ []string) (end func()) {
	for _, v := range environ {
		if strings.HasPrefix(v, "GOGC=") || strings.HasPrefix(v, "GOMEMLIMIT=") {
			return func() {}
		}
	}
	ballast := make([]byte, gcBallast)
	was := debug.SetGCPercent(gcPercent)
	return func() {
		debug.SetGCPercent(was)
		runtime.KeepAlive(ballast)
	}
}
