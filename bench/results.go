package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/sgkandale/sharelock/internal/workload"
)

// results holds all measurements of one run of this program.
type results struct {
	Machine  machine     `json:"machine"`
	Runs     int         `json:"runs"`
	Warmup   string      `json:"warmup"`
	Duration string      `json:"duration"`
	Peers    []*measured `json:"peers,omitempty"`
	Awake    []*measured `json:"awake,omitempty"`
	// Asleep is the reason why Awake is missing although it was requested.
	Asleep   string      `json:"asleep,omitempty"`
	Floor    []*measured `json:"floor,omitempty"`
	Wire     []*measured `json:"wire,omitempty"`
	Capacity []*capacity `json:"capacity,omitempty"`
}

// machine describes the machine and the versions of a measurement.
type machine struct {
	CPU        string   `json:"cpu"`
	Processors int      `json:"processors"`
	MemoryGB   float64  `json:"memoryGB"`
	Kernel     string   `json:"kernel"`
	Go         string   `json:"go"`
	Versions   []string `json:"versions"`
}

func thisMachine(ctx context.Context, b binaries) machine {
	m := machine{Processors: runtime.NumCPU(), Go: runtime.Version()}
	m.CPU = field("/proc/cpuinfo", "model name")
	var kib float64
	if _, err := fmt.Sscanf(field("/proc/meminfo", "MemTotal"), "%f", &kib); err == nil {
		m.MemoryGB = math.Round(kib * 1024 / 1e9)
	}
	if release, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		m.Kernel = strings.TrimSpace(string(release))
	}
	for _, path := range []string{b.redis, b.etcd} {
		out, err := exec.CommandContext(ctx, path, "--version").Output()
		if line, _, _ := strings.Cut(string(out), "\n"); err == nil {
			// Redis also prints its build.
			line, _, _ = strings.Cut(line, " sha=")
			m.Versions = append(m.Versions, strings.TrimSpace(line))
		}
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, dep := range info.Deps {
			for _, name := range []string{"redislock", "redsync", "go-redis", "redis/rueidis", "etcd/client/v3", "gorilla/mux", "google.golang.org/grpc"} {
				if strings.Contains(dep.Path, name) {
					m.Versions = append(m.Versions, dep.Path+" "+dep.Version)
				}
			}
		}
	}
	return m
}

// field returns the value of a name in a file of "name: value" lines.
func field(path, name string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return "unknown"
	}
	for line := range strings.Lines(string(data)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}

func (r *results) save(path string) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(data, '\n'), 0o644)
}

// metric is one figure of a run of all loads against a variant.
type metric struct {
	name, unit string
	digits     int
	// fewer is set if a smaller figure is better.
	fewer bool
	of    func(run func(load string) *workload.Result) float64
}

// metrics returns the rows of the table that compares the systems.
func metrics() []metric {
	return []metric{
		{"1,024 workers, a key each: pairs", "/s", 0, false, pairsOf(loadDistinct)},
		{"16 workers on one key: pairs", "/s", 0, false, pairsOf(loadOneKey)},
		{"16 workers on one key: pairs of the busiest for one of the laziest", "", 2, true, func(run func(string) *workload.Result) float64 {
			if f := run(loadOneKey).Fairness; f.Laziest > 0 {
				return f.Ratio()
			}
			return math.Inf(1)
		}},
		{"1 worker: acquire p50", "ms", 3, true, acquireOf(loadOne, func(l workload.Latency) time.Duration { return l.P50 })},
		{"64 workers, a key each: acquire p50", "ms", 3, true, acquireOf(load64, func(l workload.Latency) time.Duration { return l.P50 })},
		{"64 workers, a key each: acquire p99", "ms", 3, true, acquireOf(load64, func(l workload.Latency) time.Duration { return l.P99 })},
		{"hand-over to a waiter: p50", "ms", 3, true, handOver},
		{"hand-over for one uncontended acquire", "", 2, true, func(run func(string) *workload.Result) float64 {
			return handOver(run) / acquireOf(loadOne, func(l workload.Latency) time.Duration { return l.P50 })(run)
		}},
		{"hand-over for one uncontended acquire of locks held as long", "", 2, true, func(run func(string) *workload.Result) float64 {
			return handOver(run) / acquireOf(loadPaced, func(l workload.Latency) time.Duration { return l.P50 })(run)
		}},
	}
}

// floorMetrics returns the columns of the table that compares with the floor.
func floorMetrics() []metric {
	return append([]metric{{"1,024 workers: pairs", "/s", 0, false, pairsOf(loadDistinct)}}, wireMetrics()...)
}

// wireMetrics returns the columns of the table that compares with empty servers.
func wireMetrics() []metric {
	return []metric{
		{"1 worker: pairs", "/s", 0, false, pairsOf(loadOne)},
		{"1 worker: acquire p50", "ms", 3, true, acquireOf(loadOne, func(l workload.Latency) time.Duration { return l.P50 })},
		{"64 workers: pairs", "/s", 0, false, pairsOf(load64)},
		{"64 workers: acquire p50", "ms", 3, true, acquireOf(load64, func(l workload.Latency) time.Duration { return l.P50 })},
	}
}

func pairsOf(load string) func(func(string) *workload.Result) float64 {
	return func(run func(string) *workload.Result) float64 { return run(load).PairsPerSecond }
}

func acquireOf(load string, quantile func(workload.Latency) time.Duration) func(func(string) *workload.Result) float64 {
	return func(run func(string) *workload.Result) float64 {
		l := run(load).Acquire
		if l.Count == 0 {
			return math.NaN()
		}
		return float64(quantile(l)) / float64(time.Millisecond)
	}
}

func handOver(run func(string) *workload.Result) float64 {
	if h := run(loadHandOver).HandOver; h != nil {
		return float64(h.P50) / float64(time.Millisecond)
	}
	return math.NaN()
}

// median returns the median of a metric over all rounds, or NaN if there are no values.
func median(all []*measured, variant string, m metric) float64 {
	runs := make(map[string][]*workload.Result)
	rounds := 0
	for _, one := range all {
		if one.Variant == variant {
			runs[one.Load] = one.Runs
			rounds = len(one.Runs)
		}
	}
	var values []float64
	for i := range rounds {
		if v := m.of(func(load string) *workload.Result { return runs[load][i] }); !math.IsNaN(v) {
			values = append(values, v)
		}
	}
	if len(values) == 0 {
		return math.NaN()
	}
	slices.Sort(values)
	// For an even number of rounds it is the mean of the two middle values.
	return (values[(len(values)-1)/2] + values[len(values)/2]) / 2
}
