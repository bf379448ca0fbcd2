package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/sgkandale/sharelock/internal/workload"
)

// comparison is one run of loads against systems.
type comparison struct {
	binaries
	dir              string
	runs             int
	warmup, duration time.Duration
	// say reports the progress.
	say func(format string, args ...any)
	// loads is the number of loads that were run.
	loads int
}

// load is one load of the comparison.
type load struct {
	name string
	workload.Options
}

// The loads. Without a number of keys, each worker has its own key.
const (
	loadDistinct = "1024 workers, a key each"
	loadOneKey   = "16 workers, one key"
	loadOne      = "1 worker"
	load64       = "64 workers, a key each"
	loadHandOver = "4 workers, one key held for 5 ms"
	loadPaced    = "4 workers, a key each held for 5 ms"
)

func peerLoads() []load {
	return []load{
		{loadDistinct, workload.Options{Workers: 1024}},
		{loadOneKey, workload.Options{Workers: 16, Keys: 1}},
		{loadOne, workload.Options{Workers: 1}},
		{load64, workload.Options{Workers: 64}},
		{loadHandOver, workload.Options{Workers: 4, Keys: 1, Hold: 5 * time.Millisecond}},
		{loadPaced, workload.Options{Workers: 4, Hold: 5 * time.Millisecond}},
	}
}

func wireLoads() []load {
	return []load{
		{loadOne, workload.Options{Workers: 1}},
		{load64, workload.Options{Workers: 64}},
	}
}

// variant is a system and a way to call it.
type variant struct {
	system
	name string
	// over returns the service with another way to call it; nil means its own way.
	over func(*service) *service
}

func peerVariants() []variant {
	var vs []variant
	for _, s := range []system{sharelock(1), sharelock(3), redisPipelined(), redisTracked(), redisLock(), redlock(3), etcd(3)} {
		vs = append(vs, variant{s, s.name, nil})
	}
	return vs
}

// The names of the wire's variants.
const (
	wireGRPC      = "ShareLock, unary gRPC"
	wireEmptyGRPC = "empty grpc-go"
	wireHTTP      = "ShareLock, HTTP"
	wireEmptyHTTP = "empty gorilla/mux"
)

func wireVariants() []variant {
	return []variant{
		{sharelock(1), wireGRPC, (*service).overGRPC},
		{echo(), wireEmptyGRPC, (*service).overGRPC},
		{sharelock(1), wireHTTP, (*service).overHTTP},
		{echo(), wireEmptyHTTP, (*service).overHTTP},
	}
}

// measured holds the results of all runs of one load against one variant.
type measured struct {
	Variant string             `json:"variant"`
	Load    string             `json:"load"`
	Runs    []*workload.Result `json:"runs"`
}

// compare runs all loads against all variants in alternation. Each round starts every system anew,
// and the next round begins with another system, so that a machine that slows down affects all
// systems.
func (c *comparison) compare(ctx context.Context, variants []variant, loads []load) ([]*measured, error) {
	var all []*measured
	at := make(map[[2]string]*measured)
	for _, v := range variants {
		for _, l := range loads {
			m := &measured{Variant: v.name, Load: l.name}
			all, at[[2]string{v.name, l.name}] = append(all, m), m
		}
	}
	for round := range c.runs {
		for i := range variants {
			v := variants[(i+round)%len(variants)]
			err := c.with(ctx, v.system, func(s *service) error {
				if v.over != nil {
					s = v.over(s)
				}
				for _, l := range loads {
					res, err := c.measure(ctx, s, l)
					if err != nil {
						return fmt.Errorf("%s: %w", l.name, err)
					}
					c.say("round %d of %d  %-24s %-34s %8.0f pairs/s  p50 %8v  errors %d", round+1, c.runs, v.name, l.name,
						res.PairsPerSecond, res.Acquire.P50.Round(time.Microsecond), res.Failed())
					m := at[[2]string{v.name, l.name}]
					m.Runs = append(m.Runs, res)
				}
				return nil
			})
			if err != nil {
				return nil, fmt.Errorf("%s: %w", v.name, err)
			}
		}
	}
	return all, nil
}

func (c *comparison) measure(ctx context.Context, s *service, l load) (*workload.Result, error) {
	o := l.Options
	// Each load has its own keys, because calls that are cancelled at the end of a load may
	// leave locks until their TTL ends.
	c.loads++
	o.Warmup, o.Duration, o.Prefix = c.warmup, c.duration, fmt.Sprintf("bench%d/", c.loads)
	return s.measure(ctx, o)
}

// with starts a system, calls do, and stops the system.
func (c *comparison) with(ctx context.Context, sys system, do func(*service) error) error {
	dir, err := os.MkdirTemp(c.dir, "run")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	s, err := sys.start(ctx, c.binaries, dir)
	if err != nil {
		return err
	}
	defer s.stop()
	return do(s)
}
