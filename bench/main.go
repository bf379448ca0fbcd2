// Command bench compares ShareLock with other lock services, and with empty servers, on one machine
// and in one run; see docs/performance.md. It is a separate module, so that users of ShareLock do
// not depend on the clients of the other services.
//
// scripts/bench-peers installs what it needs and runs it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) == 4 && os.Args[1] == "echo" {
		exit(serveEcho(os.Args[2], os.Args[3]))
	}
	if len(os.Args) > 2 && os.Args[1] == "floor" {
		exit(serveFloor(os.Args[2], os.Args[3:]...))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	exit(run(ctx, os.Args[1:]))
}

func exit(err error) {
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// The parts that can be measured.
const (
	partPeers    = "peers"
	partFloor    = "floor"
	partWire     = "wire"
	partAwake    = "awake"
	partCapacity = "capacity"
)

func allParts() []string { return []string{partPeers, partFloor, partAwake, partWire, partCapacity} }

// job holds the settings of the command line.
type job struct {
	comparison
	sizes
	parts          []string
	out, doc, plot string
	// before is an older binary of ShareLock to compare with, instead of all parts.
	before string
}

func parse(args []string) (*job, error) {
	j := &job{}
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	fs.StringVar(&j.sharelock, "sharelock", "bin/sharelock", "the binary of ShareLock")
	fs.StringVar(&j.before, "before", "", "an older binary of ShareLock: runs the loads of peers against both, in turns, and nothing else")
	fs.StringVar(&j.redis, "redis", "redis-server", "the binary of Redis")
	fs.StringVar(&j.etcd, "etcd", "etcd", "the binary of etcd")
	fs.StringVar(&j.dir, "dir", os.TempDir(), "directory of the servers' data; it must be on a disk, because etcd syncs to it")
	fs.IntVar(&j.runs, "runs", 3, "rounds of peers, floor, awake and wire")
	fs.DurationVar(&j.warmup, "warmup", 2*time.Second, "warm-up of each load")
	fs.DurationVar(&j.duration, "duration", 10*time.Second, "length of each load")
	fs.IntVar(&j.held, "held", 1_000_000, "capacity: number of held locks")
	fs.IntVar(&j.seen, "seen", 10_000_000, "capacity: number of keys used, including held ones")
	fs.IntVar(&j.sessions, "sessions", 10_000, "capacity: number of idle sessions")
	fs.DurationVar(&j.keep, "keep", 2*time.Minute, "capacity: how long locks are kept alive")
	parts := fs.String("parts", strings.Join(allParts(), ","), "what to measure")
	fs.StringVar(&j.out, "out", "", "JSON file for all figures")
	fs.StringVar(&j.doc, "doc", "", "document to write the tables to")
	fs.StringVar(&j.plot, "plot", "", "SVG file for the plot")
	if err := fs.Parse(args); err != nil {
		return nil, err
	}
	j.parts = strings.Split(*parts, ",")
	for _, p := range j.parts {
		if !slices.Contains(allParts(), p) {
			return nil, fmt.Errorf("-parts: %q is unknown", p)
		}
	}
	if fs.NArg() > 0 || j.runs < 1 || j.duration <= 0 || j.warmup < 0 || j.held < 1 || j.seen < j.held || j.sessions < 1 {
		return nil, errors.New("nothing, or less than nothing, to measure: see -help")
	}
	var err error
	if j.self, err = os.Executable(); err != nil {
		return nil, err
	}
	// Every server runs in its own directory.
	if j.sharelock, err = filepath.Abs(j.sharelock); err != nil {
		return nil, err
	}
	if j.before != "" {
		if j.before, err = filepath.Abs(j.before); err != nil {
			return nil, err
		}
	}
	j.say = func(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }
	return j, nil
}

func run(ctx context.Context, args []string) error {
	j, err := parse(args)
	if err != nil {
		return err
	}
	if j.before != "" {
		_, err := j.older(ctx, j.before, peerLoads())
		return err
	}
	if j.doc != "" {
		if _, _, err := around(j.doc); err != nil {
			return err // report it before the measurement
		}
	}
	r := &results{Machine: thisMachine(ctx, j.binaries), Runs: j.runs, Warmup: j.warmup.String(), Duration: j.duration.String()}
	if slices.Contains(j.parts, partPeers) {
		if r.Peers, err = j.compare(ctx, peerVariants(), peerLoads()); err != nil {
			return err
		}
	}
	if slices.Contains(j.parts, partFloor) {
		if r.Floor, err = j.compare(ctx, floorVariants(), floorLoads()); err != nil {
			return err
		}
	}
	if slices.Contains(j.parts, partAwake) {
		if r.Asleep = asleep(); r.Asleep != "" {
			j.say("left out: the machine is not kept awake: %s", r.Asleep)
		} else if r.Awake, err = j.compare(ctx, awakeVariants(), awakeLoads()); err != nil {
			return err
		}
	}
	if slices.Contains(j.parts, partWire) {
		if r.Wire, err = j.compare(ctx, wireVariants(), wireLoads()); err != nil {
			return err
		}
	}
	if slices.Contains(j.parts, partCapacity) {
		for _, nodes := range []int{1, 3} {
			c, err := j.capacity(ctx, nodes, j.sizes)
			if err != nil {
				return err
			}
			r.Capacity = append(r.Capacity, c)
		}
	}
	fmt.Print(r.figures())
	return j.store(r)
}

// store writes the files that the flags name.
func (j *job) store(r *results) error {
	var errs []error
	if j.out != "" {
		errs = append(errs, r.save(j.out))
	}
	if j.doc != "" {
		errs = append(errs, writeFigures(j.doc, r.figures()))
	}
	if j.plot != "" && len(r.Peers) > 0 {
		errs = append(errs, r.savePlot(j.plot))
	}
	return errors.Join(errs...)
}
