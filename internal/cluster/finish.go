package cluster

import (
	"errors"
	"fmt"
)

// Check checks immediately what can be checked while the cluster runs: the state of the
// nodes and the history so far. Every violation is a *ViolationError.
func (c *Cluster) Check() error {
	return errors.Join(c.CheckNodes(), c.checkSeen(), c.checkTold(), c.history.Check(c.opts.Without...), c.checkLinearizable())
}

// CheckNodes checks only Consistent, immediately.
func (c *Cluster) CheckNodes() error {
	if !c.opts.checks(Consistent) {
		return nil
	}
	var errs []error
	for _, n := range c.all() {
		if m := n.current(); m != nil {
			if err := m.Check(); err != nil {
				errs = append(errs, &ViolationError{Consistent, fmt.Sprintf("node %d: %v", n.index, err)})
			}
		}
	}
	return errors.Join(errs...)
}

// checkSeen returns the first violation that was detected while it happened and that the
// history does not show.
func (c *Cluster) checkSeen() error {
	if !c.opts.checks(OneOwner) {
		return nil
	}
	return c.actives.violation()
}

func (c *Cluster) checkLeaks() error {
	if !c.opts.checks(NoLeaks) {
		return nil
	}
	if stacks := c.leaks.left(); stacks != "" {
		return &ViolationError{NoLeaks, "goroutines of the cluster did not end:\n" + stacks}
	}
	return nil
}

// finish runs all checks at the end of a test, and prints the evidence if the test failed.
func (c *Cluster) finish(tb TB) {
	tb.Helper()
	errs := []error{c.CheckNodes()}
	state := c.Describe()
	errs = append(errs, c.Close(), c.checkLeaks(), c.checkSeen(), c.checkTold(), c.history.Check(c.opts.Without...), c.checkLinearizable())
	if err := errors.Join(errs...); err != nil {
		tb.Errorf("%v", err)
	}
	if tb.Failed() {
		tb.Logf("seed %d\nwhat was done:\n%s\nthe nodes at the end of the test:\n%s\ntheir last log lines:\n%s",
			c.opts.Seed, c.history.done(), state, c.logs.last())
	}
}

// done formats the list of events.
func (h *History) done() string {
	s := ""
	for _, e := range h.Events() {
		s += fmt.Sprintf("+%v %s", e.At.Sub(h.start), e.Kind)
		if e.Kind != Disturbed && e.Kind != Healed {
			s += fmt.Sprintf(" node %d", e.Node)
		}
		if e.What != "" {
			s += ": " + e.What
		}
		s += "\n"
	}
	return s
}
