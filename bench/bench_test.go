package main

import (
	"context"
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sgkandale/sharelock/internal/workload"
)

var update = flag.Bool("update", false, "rewrite the golden file")

// TestMain is also the echo server and the floor when the tests start themselves as one.
func TestMain(m *testing.M) {
	if len(os.Args) == 4 && os.Args[1] == "echo" {
		exit(serveEcho(os.Args[2], os.Args[3]))
	}
	if len(os.Args) > 2 && os.Args[1] == "floor" {
		exit(serveFloor(os.Args[2], os.Args[3:]...))
	}
	os.Exit(m.Run())
}

// sample is a run whose figures are n times some basic ones.
func sample(load string, n float64) *workload.Result {
	ms := func(x float64) time.Duration { return time.Duration(n * x * float64(time.Millisecond)) }
	res := &workload.Result{
		Pairs: int64(1000 * n), PairsPerSecond: 1000 * n,
		Acquire:  workload.Latency{Count: 1, P50: ms(0.5), P99: ms(4)},
		Fairness: workload.Fairness{Busiest: int64(20 * n), Laziest: 10},
	}
	if load == loadHandOver {
		res.HandOver = &workload.Latency{P50: ms(0.75)}
	}
	return res
}

func samples(variants []variant, loads []load) []*measured {
	var all []*measured
	for i, v := range variants {
		for _, l := range loads {
			m := &measured{Variant: v.name, Load: l.name}
			for _, n := range []float64{9, 1, 2} { // the median is 2
				m.Runs = append(m.Runs, sample(l.name, n*float64(i+1)))
			}
			all = append(all, m)
		}
	}
	return all
}

func sampleResults() *results {
	r := &results{
		Machine: machine{CPU: "a processor", Processors: 2, MemoryGB: 25, Kernel: "6.1", Go: "go1.26", Versions: []string{"redis 7", "etcd 3.6"}},
		Runs:    3, Warmup: "2s", Duration: "10s",
		Peers: samples(peerVariants(), peerLoads()), Floor: samples(floorVariants(), floorLoads()), Awake: samples(awakeVariants(), awakeLoads()), Wire: samples(wireVariants(), wireLoads()),
		Capacity: []*capacity{
			{
				Nodes: 1, Held: 1_000_000, Copies: 1, BytesPerCopy: 512.4, KeepAlive: 3.14, Sessions: 10_000, BytesPerSession: 40_000,
				Seen: 10_000_000, EmptyPairs: 30_000, FullPairs: 29_000,
			},
			{Nodes: 3, Held: 1_000_000, Copies: 2, BytesPerCopy: 600, KeepAlive: 12, Lost: 7},
		},
	}
	r.Peers[0].Runs[0].Errors = map[string]uint64{"no": 1234}
	r.Peers[1].Runs[1].Fairness.Laziest, r.Peers[1].Runs[2].Fairness.Laziest = 0, 0
	for _, run := range r.Peers[len(r.Peers)-1].Runs {
		run.HandOver = nil
	}
	for _, run := range r.Wire[0].Runs {
		run.Pairs, run.PairsPerSecond, run.Acquire = 0, 0, workload.Latency{}
	}
	return r
}

func TestFigures(t *testing.T) {
	got := sampleResults().figures()
	path := filepath.Join("testdata", "figures.md")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// Figures that are missing say why.
func TestAsleep(t *testing.T) {
	r := sampleResults()
	r.Awake, r.Asleep = nil, "it may not"
	got := r.figures()
	if !strings.Contains(got, "### On a machine that is kept awake\n\nNot measured: it may not.\n") {
		t.Errorf("got %s", got)
	}
}

func TestMedian(t *testing.T) {
	all := samples(peerVariants(), peerLoads())
	pairs := metrics()[0]
	if got := median(all, all[0].Variant, pairs); got != 2000 {
		t.Errorf("of three: got %v, want 2000", got)
	}
	for _, m := range all {
		m.Runs = m.Runs[1:]
	}
	if got := median(all, all[0].Variant, pairs); got != 1500 {
		t.Errorf("of two: got %v, want 1500", got)
	}
	if got := median(all, "nobody", pairs); !math.IsNaN(got) {
		t.Errorf("of none: got %v, want NaN", got)
	}
}

func TestPlotIsXML(t *testing.T) {
	plot := sampleResults().plot()
	bars := 0
	for d := xml.NewDecoder(strings.NewReader(plot)); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, plot)
		}
		if start, ok := token.(xml.StartElement); ok && start.Name.Local == "rect" {
			bars++
		}
	}
	if want := 1 + 4*len(peerVariants()); bars != want {
		t.Errorf("got %d rectangles, want %d: the background and the bars", bars, want)
	}
	if strings.Contains(plot, "NaN") || strings.Contains(plot, "Inf") {
		t.Errorf("a figure that is none was drawn:\n%s", plot)
	}
}

func TestWriteFigures(t *testing.T) {
	path := filepath.Join(t.TempDir(), "doc.md")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("before\n" + figuresStart + "\nold\n" + figuresEnd + "\nafter\n")
	for range 2 { // the second time changes nothing
		if err := writeFigures(path, "new"); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if want := "before\n" + figuresStart + "\n\nnew\n" + figuresEnd + "\nafter\n"; string(got) != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	write("nothing")
	if err := writeFigures(path, "new"); err == nil {
		t.Error("no error without a place for the figures")
	}
}

// The whole way: processes that are started, reached by both wires, and measured in
// turns. How much they do in the time is the machine's affair.
func TestCompareEcho(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := &comparison{
		binaries: binaries{self: self}, dir: t.TempDir(), runs: 2, duration: 10 * time.Millisecond, say: t.Logf,
	}
	var vs []variant
	for _, v := range wireVariants() {
		if v.system.name == echo().name {
			vs = append(vs, v)
		}
	}
	all, err := c.compare(t.Context(), vs, wireLoads()[:1])
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 2 || len(all[0].Runs) != 2 || len(all[1].Runs) != 2 {
		t.Fatalf("got %+v, want two runs of two variants", all)
	}
	for _, m := range all {
		for _, run := range m.Runs {
			if run.Failed() > 0 {
				t.Errorf("%s: got %v", m.Variant, run.Errors)
			}
		}
	}
	err = c.with(t.Context(), echo(), func(s *service) error {
		for _, v := range vs {
			locker, closing, err := v.over(s).connect(t.Context(), 1)
			if err != nil {
				return err
			}
			defer closing()
			l, err := locker(0)
			if err != nil {
				return err
			}
			held, err := l.Acquire(t.Context(), "a/key")
			if err != nil {
				return fmt.Errorf("%s: %w", v.name, err)
			}
			if err := held.Release(t.Context()); err != nil {
				return fmt.Errorf("%s: %w", v.name, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// Two systems are measured in turns, the same number of times.
func TestPairs(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := &comparison{binaries: binaries{self: self}, dir: t.TempDir(), runs: 3, duration: 10 * time.Millisecond, say: t.Logf}
	var order []string
	named := func(s *service, name string) *service {
		connect := s.connect
		s.connect = func(ctx context.Context, workers int) (func(int) (workload.Locker, error), func() error, error) {
			order = append(order, name)
			return connect(ctx, workers)
		}
		return s
	}
	err = c.with(t.Context(), echo(), func(was *service) error {
		return c.with(t.Context(), echo(), func(is *service) error {
			p, err := c.pairs(t.Context(), named(was.overGRPC(), "was"), named(is.overGRPC(), "is"), wireLoads()[0])
			if err != nil {
				return err
			}
			if len(p.before) != 3 || len(p.after) != 3 {
				t.Errorf("got %d and %d runs, want 3 of each", len(p.before), len(p.after))
			}
			return nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"was", "is", "is", "was", "was", "is"}; !slices.Equal(order, want) {
		t.Errorf("got the order %v, want %v", order, want)
	}
}

// The ratio of each round counts, not the ratio of the medians.
func TestPairedRatios(t *testing.T) {
	p := &sideBySide{nodes: 3, load: loadOne}
	for i, before := range []float64{1, 10, 100, 1000, 10000} {
		p.before = append(p.before, sample(loadOne, before))
		p.after = append(p.after, sample(loadOne, before*[]float64{0.5, 2, 1, 0.9, 3}[i]))
	}
	want := "3 nodes  1 worker                              pairs/s 100000 -> 100000, ratio 1.000 [0.900 2.000]" +
		"  p50 50ms -> 50ms, ratio 1.000 [0.900 2.000]"
	if got := p.String(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// Every call through a process, and through a chain of two, is answered to its caller.
func TestFloor(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for processes := 1; processes <= 2; processes++ {
		c := &comparison{binaries: binaries{self: self}, dir: t.TempDir(), runs: 1, say: t.Logf}
		err := c.with(t.Context(), floor(processes), func(s *service) error {
			const workers, rounds = 50, 100
			locker, closing, err := s.connect(t.Context(), workers)
			if err != nil {
				return err
			}
			var callers errgroup.Group
			for i := range workers {
				l, err := locker(i)
				if err != nil {
					return err
				}
				callers.Go(func() error {
					for range rounds {
						held, err := l.Acquire(t.Context(), "k")
						if err != nil {
							return err
						}
						if err := held.Release(t.Context()); err != nil {
							return err
						}
					}
					return nil
				})
			}
			if err := callers.Wait(); err != nil {
				return err
			}
			s.stop()
			l, err := locker(0)
			if err != nil {
				return err
			}
			if _, err := l.Acquire(t.Context(), "k"); err == nil {
				t.Error("a call to a process that has gone is answered")
			}
			return closing()
		})
		if err != nil {
			t.Errorf("%d processes: %v", processes, err)
		}
	}
}

func TestShare(t *testing.T) {
	for n, want := range map[int]int{1: runtime.NumCPU(), runtime.NumCPU(): 1, 1000: 1} {
		if got := share(n); !slices.Equal(got, []string{fmt.Sprint("GOMAXPROCS=", want)}) {
			t.Errorf("each of %d: %v, want %d processors", n, got, want)
		}
	}
}

func TestProcess(t *testing.T) {
	p, err := startProcess(t.TempDir(), "busy", nil, "sh", "-c", "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; echo counted; exec sleep 60")
	if err != nil {
		t.Fatal(err)
	}
	s := &service{procs: []*process{p}}
	defer s.stop()
	// It is ready when it has counted.
	err = ready(t.Context(), s.procs, func(context.Context) error {
		if !strings.Contains(p.tail(), "counted") {
			return errors.New("not yet")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if cpu, err := s.cpu(); err != nil || cpu <= 0 || cpu > time.Hour {
		t.Errorf("cpu: got %v, %v, want what the counting took", cpu, err)
	}
	if rss, err := s.rss(); err != nil || rss < 100<<10 || rss > 100<<20 {
		t.Errorf("rss: got %d, %v", rss, err)
	}
	s.stop()
	if err := ready(t.Context(), s.procs, func(context.Context) error { return errors.New("not yet") }); err == nil || !strings.Contains(err.Error(), "has ended: counted") {
		t.Errorf("got %v, want that the process has ended, with its last words", err)
	}
	if _, err := s.rss(); err == nil {
		t.Error("no error for the memory of a process that has ended")
	}
}

func TestParse(t *testing.T) {
	j, err := parse([]string{"-parts", "wire,peers", "-runs", "5", "-sharelock", "x"})
	if err != nil || len(j.parts) != 2 || j.runs != 5 || !filepath.IsAbs(j.sharelock) || j.keep != 2*time.Minute {
		t.Errorf("got %+v, %v", j, err)
	}
	if j, err := parse([]string{"-before", "old"}); err != nil || !filepath.IsAbs(j.before) {
		t.Errorf("-before: got %+v, %v", j, err)
	}
	for _, args := range [][]string{{"-parts", "all"}, {"-runs", "0"}, {"-duration", "0s"}, {"-seen", "1"}, {"extra"}} {
		if _, err := parse(args); err == nil {
			t.Errorf("%v: no error", args)
		}
	}
}
