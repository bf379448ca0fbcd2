// Package search explores all states of a finite system.
//
// A state is any comparable type, usually a struct of a few dozen bytes. Run visits the
// states breadth first, so the first violation that it finds has a shortest trace. The states
// are stored unchanged, in chunks, beside an open-addressing hash table of their numbers. For
// every state, its predecessor and its successors without a fault are stored as numbers, too. A
// state therefore costs its own size and about forty bytes.
//
// If no step violates a property, Run judges what the system does for ever. When no more faults
// happen, a run in which every step that is possible infinitely often is taken (strong
// fairness) ends in a bottom component: a strongly connected component of the graph without
// faults that no step leaves. The run visits all its states infinitely often.
package search

import (
	"fmt"
	"iter"
	"strings"
)

// Step is one transition from a state to the next. What Kind, A and B mean is up to the
// system; Describe puts it into words.
type Step struct {
	Kind, A, B uint8
	// Fault marks a step that the environment may take but need not.
	Fault bool
	// Change marks a step that must not happen for ever, see Judge.
	Change bool
	// Broken names the property that the step violates, if any.
	Broken string
}

// System is a transition system.
type System[S comparable] interface {
	// Initial yields the states to start from.
	Initial() iter.Seq[S]
	// Next calls take with every step from s and the state that it leads to.
	Next(s S, take func(Step, S))
	// Judge returns the property that a bottom component violates, or "". changes
	// reports whether a Change is among the steps within it.
	Judge(component iter.Seq[S], changes bool) string
	// Describe puts a step into words.
	Describe(Step) string
	// Print puts a state into words.
	Print(S) string
}

// Result is what a search found.
type Result struct {
	States int
	// Ends is the number of bottom components.
	Ends int
	// Broken is the violated property, "" if all hold, and Trace shows how.
	Broken, Trace string
}

// TooMany is the Broken of a search that was given up because of its size.
const TooMany = "TOO MANY STATES"

const (
	nobody    = ^uint32(0)
	changeBit = uint32(1) << 31
)

// graph is what has been explored so far.
type graph[S comparable] struct {
	system System[S]
	states *table[S]
	// parents holds for each state the state from which it was first reached.
	parents []uint32
	// The successors of state i by steps without fault are edges[first[i]:first[i+1]];
	// changeBit marks a Change.
	edges []uint32
	first []uint32
}

// Run explores the system, up to limit states.
func Run[S comparable](system System[S], limit int) Result {
	g := &graph[S]{system: system, states: newTable[S]()}
	for s := range system.Initial() {
		g.add(s, nobody)
	}
	for i := uint32(0); int(i) < g.states.len(); i++ {
		if g.states.len() > limit {
			return Result{States: g.states.len(), Broken: TooMany}
		}
		if r, broken := g.expand(i); broken {
			return r
		}
	}
	g.first = append(g.first, uint32(len(g.edges)))
	return g.judge()
}

func (g *graph[S]) add(s S, parent uint32) uint32 {
	i, added := g.states.add(s)
	if added {
		g.parents = append(g.parents, parent)
	}
	return i
}

// expand takes all steps from a state.
func (g *graph[S]) expand(i uint32) (r Result, broken bool) {
	g.first = append(g.first, uint32(len(g.edges)))
	s := g.states.at(i)
	g.system.Next(s, func(step Step, next S) {
		if broken {
			return
		}
		if step.Broken != "" {
			broken = true
			r = Result{Broken: step.Broken, Trace: g.trace(i) + "  * " + g.system.Describe(step) + ": " + step.Broken + "\n"}
			return
		}
		if next == s && !step.Change {
			return
		}
		to := g.add(next, i)
		if step.Fault {
			return
		}
		if step.Change {
			to |= changeBit
		}
		g.edges = append(g.edges, to)
	})
	r.States = g.states.len()
	return r, broken
}

// trace formats the steps from an initial state to state i.
func (g *graph[S]) trace(i uint32) string {
	var path []uint32
	for ; i != nobody; i = g.parents[i] {
		path = append(path, i)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "  start: %s\n", g.system.Print(g.states.at(path[len(path)-1])))
	for n := len(path) - 2; n >= 0; n-- {
		to := g.states.at(path[n])
		fmt.Fprintf(&b, "  %d. %s\n", len(path)-1-n, g.system.Describe(g.between(path[n+1], to)))
		if n == 0 {
			fmt.Fprintf(&b, "  now: %s\n", g.system.Print(to))
		}
	}
	return b.String()
}

// between returns the step that leads from state i to another state.
func (g *graph[S]) between(i uint32, to S) (found Step) {
	done := false
	g.system.Next(g.states.at(i), func(step Step, next S) {
		if next == to && !done {
			found, done = step, true
		}
	})
	return found
}
