package host

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"
)

// A node accumulates less garbage than by Go's default, but not so little that a small node collects all
// the time, unless the environment sets a limit.
func TestLimitGarbage(t *testing.T) {
	percent := func() int {
		was := debug.SetGCPercent(100)
		debug.SetGCPercent(was)
		return was
	}
	before := percent()
	for _, environ := range [][]string{{"GOGC=100"}, {"A=b", "GOMEMLIMIT=1GiB"}} {
		end := LimitGarbage(environ)
		if got := percent(); got != before {
			t.Errorf("%v: GC percent %d, want %d", environ, got, before)
		}
		end()
	}

	end := LimitGarbage([]string{"NOGOGC=1"})
	if got := percent(); got != gcPercent {
		t.Errorf("GC percent %d, want %d", got, gcPercent)
	}
	// The size at which the next collection starts, here with the ballast.
	debug.FreeOSMemory()
	goal := []metrics.Sample{{Name: "/gc/heap/goal:bytes"}}
	metrics.Read(goal)
	if got := goal[0].Value.Uint64(); got < gcBallast*(100+gcPercent)/100 {
		t.Errorf("the next collection is due at %d bytes, so the ballast of %d is not counted", got, gcBallast)
	}
	end()
	if got := percent(); got != before {
		t.Errorf("GC percent %d at the end, want %d", got, before)
	}
}

// A rate that was set by others is not changed.
func TestSampleMemory(t *testing.T) {
	was := runtime.MemProfileRate
	t.Cleanup(func() { runtime.MemProfileRate = was })
	for _, tt := range []struct{ before, want int }{{goSample, sample}, {0, 0}, {1, 1}} {
		runtime.MemProfileRate = tt.before
		if SampleMemory(); runtime.MemProfileRate != tt.want {
			t.Errorf("a rate of %d became %d, want %d", tt.before, runtime.MemProfileRate, tt.want)
		}
	}
}
