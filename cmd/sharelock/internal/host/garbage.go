package host

import (
	"runtime"
	"runtime/debug"
	"strings"
)

const (
	// gcPercent is how much garbage a node accumulates before a collection, in percent of the
	// live memory. Go's default is 100. In a big node nearly all live memory holds locks, which
	// the collector does not scan: a collection is cheap, and memory is expensive.
	gcPercent = 50
	// gcBallast is the size of a block that counts as live memory, so that a small node does
	// not collect its few megabytes all the time. It is never written, so it uses no memory.
	gcBallast = 64 << 20
)

// LimitGarbage sets how much garbage this process accumulates, until end is called. It does
// nothing if the environment has GOGC or GOMEMLIMIT.
func LimitGarbage(environ []string) (end func()) {
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

// Bytes that a process allocates, on average, between two samples of its heap profile. With Go's default
// a busy node takes a thousand samples a second, which costs 3 % of its calls.
const (
	goSample = 512 << 10
	sample   = 8 << 20
)

// SampleMemory sets how often the heap profile takes a sample. It does nothing if the rate was set by GODEBUG
// or by the program. Call it at the beginning of main, as the runtime demands.
func SampleMemory() {
	if runtime.MemProfileRate == goSample {
		runtime.MemProfileRate = sample
	}
}
