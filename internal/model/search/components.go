package search

import (
	"fmt"
	"slices"
	"strings"
)

// judge finds the strongly connected components of the graph without faults, by Tarjan's
// algorithm, and lets the system judge the bottom components.
func (g *graph[S]) judge() Result {
	r := Result{States: g.states.len()}
	g.components(func(component []uint32) bool {
		changes, bottom := g.within(component)
		if !bottom {
			return true
		}
		r.Ends++
		r.Broken = g.system.Judge(func(yield func(S) bool) {
			for _, i := range component {
				if !yield(g.states.at(i)) {
					return
				}
			}
		}, changes)
		if r.Broken != "" {
			r.Trace = g.lasso(component, r.Broken)
		}
		return r.Broken == ""
	})
	return r
}

// within reports whether a component contains a Change, and whether it is a bottom component.
// The component is sorted.
func (g *graph[S]) within(component []uint32) (changes, bottom bool) {
	for _, i := range component {
		for _, e := range g.edges[g.first[i]:g.first[i+1]] {
			if _, inside := slices.BinarySearch(component, e&^changeBit); !inside {
				return false, false
			}
			changes = changes || e&changeBit != 0
		}
	}
	return changes, true
}

// lasso formats the trace to a component, and the steps within it.
func (g *graph[S]) lasso(component []uint32, broken string) string {
	var b strings.Builder
	b.WriteString(g.trace(component[0]))
	fmt.Fprintf(&b, "  * from here on, for ever (%d states): %s\n", len(component), broken)
	const most = 12
	lines := 0
	for _, i := range component {
		for _, e := range g.edges[g.first[i]:g.first[i+1]] {
			if lines++; lines > most {
				return b.String()
			}
			fmt.Fprintf(&b, "    - %s\n", g.system.Describe(g.between(i, g.states.at(e&^changeBit))))
		}
	}
	return b.String()
}

// components calls found with every component, until found returns false. A component is a
// sorted list of state numbers, which is valid until found returns.
func (g *graph[S]) components(found func([]uint32) bool) {
	n := uint32(g.states.len())
	index := make([]uint32, n) // order of discovery plus 1; 0 is undiscovered, nobody is done
	low := make([]uint32, n)
	var stack []uint32
	type frame struct{ state, edge uint32 }
	var path []frame
	clock := uint32(0)
	enter := func(i uint32) {
		clock++
		index[i], low[i] = clock, clock
		stack = append(stack, i)
		path = append(path, frame{i, g.first[i]})
	}
	for root := range n {
		if index[root] != 0 {
			continue
		}
		enter(root)
		for len(path) > 0 {
			f := &path[len(path)-1]
			if f.edge < g.first[f.state+1] {
				to := g.edges[f.edge] &^ changeBit
				f.edge++
				switch {
				case index[to] == 0:
					enter(to)
				case index[to] != nobody:
					low[f.state] = min(low[f.state], index[to])
				}
				continue
			}
			i := f.state
			path = path[:len(path)-1]
			if len(path) > 0 {
				up := path[len(path)-1].state
				low[up] = min(low[up], low[i])
			}
			if low[i] != index[i] {
				continue
			}
			at := len(stack) - 1
			for stack[at] != i {
				at--
			}
			component := stack[at:]
			for _, s := range component {
				index[s] = nobody
			}
			slices.Sort(component)
			if !found(component) {
				return
			}
			stack = stack[:at]
		}
	}
}
