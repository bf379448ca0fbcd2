package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/client"
	"github.com/sgkandale/sharelock/cmd/sharelock/internal/exit"
	"github.com/sgkandale/sharelock/internal/workload"
)

func TestBenchUsage(t *testing.T) {
	for _, args := range [][]string{
		{"extra"},
		{"--workers", "0"},
		{"--workers", "4", "--clients", "5"},
		{"--clients", "0"},
		{"--keys", "-1"},
		{"--contention", "1.1"},
		{"--hold", "-1s"},
		{"--mode", "slots"},
		{"--duration", "0s"},
		{"--warmup", "-1s"},
		{"--rate", "-1"},
		{"--route", "far"},
		{"--ttl", "1ms"},
		{"--wait", "-1s"},
		{"--prefix", strings.Repeat("k", sharelock.MaxKeyBytes)},
		{"--server", "nowhere"},
		{"-o", "xml"},
	} {
		a := newApp()
		a.command(t, exit.Usage, append([]string{"bench"}, args...)...)
		oneLineOf(t, a)
	}
	a := newApp()
	a.command(t, exit.Unreachable, "bench", "--server", "127.0.0.1:1", "--timeout", "1ms")
	oneLineOf(t, a)
}

func TestBench(t *testing.T) {
	m := startMesh(t)
	a := remoteApp(m)
	benchUntil(t, m, a, 50, "--workers", "4", "--clients", "2", "--keys", "2", "--prefix", "p/", "-o", "json")
	var got struct {
		Servers string
		Workers int
		Pairs   int64
		Acquire struct{ P50Ns, MaxNs int64 }
		Errors  map[string]int
	}
	if err := json.Unmarshal([]byte(a.out.String()), &got); err != nil {
		t.Fatalf("%v in %s", err, a.out)
	}
	if got.Servers != m.addr || got.Workers != 4 || got.Pairs == 0 || got.Acquire.MaxNs < got.Acquire.P50Ns || len(got.Errors) > 0 {
		t.Errorf("got %s", a.out)
	}
	if m.isHeld("p/0") || m.isHeld("p/1") {
		t.Error("a lock is still held after the run")
	}
}

// benchUntil runs a load until the mesh has received a number of calls, and interrupts it.
func benchUntil(t *testing.T, m *fakeMesh, a *testApp, calls int, args ...string) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		a.command(t, exit.Signal+int(syscall.SIGINT), append([]string{"bench", "--duration", "1h", "--warmup", "0s"}, args...)...)
	}()
	m.await(t, calls)
	a.signals <- os.Interrupt
	<-done
}

func TestBenchErrors(t *testing.T) {
	m := startMesh(t)
	m.refuse(sharelock.ErrQuota)
	a := remoteApp(m)
	benchUntil(t, m, a, 50)
	if want := ": " + benchKind(&sharelock.Error{Err: sharelock.ErrQuota}) + "\n"; !strings.Contains(a.out.String(), want) {
		t.Errorf("no %q in the report:\n%s", want, a.out)
	}
}

// A run that ends by itself is a success, unless no lock was acquired.
func TestBenchEnds(t *testing.T) {
	m := startMesh(t)
	m.refuse(sharelock.ErrQuota)
	a := remoteApp(m)
	a.command(t, exit.Failed, "bench", "--duration", "1ms", "--warmup", "0s")
	oneLineOf(t, a)
}

func TestBenchText(t *testing.T) {
	latency := workload.Latency{
		Count: 1000, Mean: 312345, P50: 300 * time.Microsecond, P90: 512 * time.Microsecond, P99: 2 * time.Millisecond,
		P999: 12345678, Max: 1234567890,
	}
	b := &bench{
		remote: remote{servers: "a:1,b:2"}, clients: 1, mode: "exclusive", route: routeOwner,
		load: workload.Options{Workers: 16, Warmup: 2 * time.Second},
	}
	res := &workload.Result{
		Measured: 10 * time.Second, Pairs: 123456, PairsPerSecond: 12345.6, Acquire: latency, Release: latency,
		Fairness: workload.Fairness{Busiest: 8000, Laziest: 7500, Jain: 0.9991},
	}
	text := b.text(res)
	b.clients, b.mode, b.route = 3, "shared", routeAny
	b.load.Keys, b.load.Contention, b.load.Hold, b.load.Rate = 1000, 0.125, time.Millisecond, 2000
	res.Sent, res.HandOver, res.Release = &latency, &latency, workload.Latency{}
	res.Fairness.Laziest, res.Unsent = 0, 17
	res.Errors = map[string]uint64{"no quorum": 3, "too many waiters": 12345, "lock is held": 3}
	golden(t, "bench_text", text+"\n"+b.text(res))
}

func TestBenchProgress(t *testing.T) {
	p := workload.Progress{Elapsed: 1002 * time.Millisecond, Total: 12 * time.Second, Warmup: true, PairsPerSecond: 1234567}
	if got, want := progressLine(p), "warming up 1s/12s  1,234,567 pairs/s"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	p.Warmup, p.P50, p.P99, p.Errors = false, 250*time.Microsecond, 3*time.Millisecond, 1
	if got, want := progressLine(p), "measuring 1s/12s  1,234,567 pairs/s  acquire p50 0.250 ms, p99 3.000 ms  1 error"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestThousands(t *testing.T) {
	for x, want := range map[float64]string{
		0: "0", 1.26: "1.3", 42: "42", 99.96: "100", 100.4: "100", 999: "999", 1000: "1,000", 123456: "123,456", 1e9: "1,000,000,000",
	} {
		if got := thousands(x); got != want {
			t.Errorf("thousands(%v): got %q, want %q", x, got, want)
		}
	}
	if got := millis(math.MaxInt32); got != "2147.484" {
		t.Errorf("got %q", got)
	}
}

func TestBenchKind(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want string
	}{
		{fmt.Errorf("acquire %q: %w", "k1", &sharelock.Error{Err: sharelock.ErrQuota}), sharelock.ErrQuota.Error()},
		{fmt.Errorf("acquire: %w: last: %w", client.ErrUnreachable, &sharelock.Error{Err: sharelock.ErrNoQuorum}), client.ErrUnreachable.Error()},
		{errors.New("two\nlines"), "two; lines"},
	} {
		if got := benchKind(tt.err); got != tt.want {
			t.Errorf("%v: got %q, want %q", tt.err, got, tt.want)
		}
	}
}
