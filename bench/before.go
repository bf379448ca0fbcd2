package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sgkandale/sharelock/internal/workload"
)

// sideBySide holds what one load measured against two binaries of ShareLock, run by run.
type sideBySide struct {
	nodes         int
	load          string
	before, after []*workload.Result
}

// older runs the loads of the peers against the binary in before and against the current one. Both
// systems run all the time, and the loads alternate between them, so that a machine that changes
// its speed affects both alike. An idle system uses next to no processor time.
func (c *comparison) older(ctx context.Context, before string, loads []load) ([]*sideBySide, error) {
	var all []*sideBySide
	for _, nodes := range []int{1, 3} {
		old, sys := sharelock(nodes), sharelock(nodes)
		start := old.start
		old.start = func(ctx context.Context, b binaries, dir string) (*service, error) {
			b.sharelock = before
			return start(ctx, b, dir)
		}
		err := c.with(ctx, old, func(was *service) error {
			return c.with(ctx, sys, func(is *service) error {
				for _, l := range loads {
					p, err := c.pairs(ctx, was, is, l)
					if err != nil {
						return fmt.Errorf("%s, %s: %w", sys.name, l.name, err)
					}
					p.nodes = nodes
					c.say("%s", p)
					all = append(all, p)
				}
				return nil
			})
		})
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}

// pairs runs one load against both systems in every round. Every other round begins with the
// other system.
func (c *comparison) pairs(ctx context.Context, was, is *service, l load) (*sideBySide, error) {
	p := &sideBySide{load: l.name}
	for round := range c.runs {
		for i := range 2 {
			s, to := was, &p.before
			if (round+i)%2 == 1 {
				s, to = is, &p.after
			}
			res, err := c.measure(ctx, s, l)
			if err != nil {
				return nil, err
			}
			if n := res.Failed(); n > 0 {
				return nil, fmt.Errorf("%d calls failed: %v", n, res.Errors)
			}
			*to = append(*to, res)
		}
	}
	return p, nil
}

// ratios returns the sorted ratios of a figure, after to before, of all rounds.
func (p *sideBySide) ratios(figure func(*workload.Result) float64) []float64 {
	rs := make([]float64, len(p.before))
	for i := range rs {
		rs[i] = figure(p.after[i]) / figure(p.before[i])
	}
	slices.Sort(rs)
	return rs
}

func pairsPerSecond(r *workload.Result) float64 { return r.PairsPerSecond }
func acquireP50(r *workload.Result) float64     { return float64(r.Acquire.P50) }

// String returns the medians and the median ratios with their quartiles.
func (p *sideBySide) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d nodes  %-36s", p.nodes, p.load)
	for _, f := range []struct {
		unit   string
		figure func(*workload.Result) float64
		show   func(float64) string
	}{
		{"pairs/s", pairsPerSecond, func(x float64) string { return fmt.Sprintf("%.0f", x) }},
		{"p50", acquireP50, func(x float64) string { return time.Duration(x).Round(time.Microsecond).String() }},
	} {
		rs := p.ratios(f.figure)
		fmt.Fprintf(&b, "  %s %s -> %s, ratio %.3f [%.3f %.3f]", f.unit, f.show(of(p.before, f.figure)), f.show(of(p.after, f.figure)),
			middle(rs), rs[len(rs)/4], rs[len(rs)-1-len(rs)/4])
	}
	return b.String()
}

// of returns the median of a figure.
func of(runs []*workload.Result, figure func(*workload.Result) float64) float64 {
	xs := make([]float64, len(runs))
	for i, r := range runs {
		xs[i] = figure(r)
	}
	slices.Sort(xs)
	return middle(xs)
}

// middle returns the median of sorted values, of which there must be at least one.
func middle[T cmp.Ordered](xs []T) T { return xs[len(xs)/2] }
