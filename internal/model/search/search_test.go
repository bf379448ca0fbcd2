package search

import (
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"
)

// lamp is a small system: a lamp that is switched on and off, and may break while it is on.
type lamp struct {
	breaks, forbidden bool // what the environment may do, and whether that is a violation
	repair            bool
	flicker           bool // whether switching is a Change
}

type lampState struct{ on, broken bool }

func (l lamp) Initial() iter.Seq[lampState] { return slices.Values([]lampState{{}}) }

func (l lamp) Next(s lampState, take func(Step, lampState)) {
	if !s.broken {
		take(Step{Kind: 0, Change: l.flicker}, lampState{on: !s.on})
	}
	if s.on && l.breaks {
		step := Step{Kind: 1, Fault: true}
		if l.forbidden {
			step.Broken = "WHOLE"
		}
		take(step, lampState{broken: true})
	}
	if s.broken && l.repair {
		take(Step{Kind: 2}, lampState{})
	}
}

func (l lamp) Judge(component iter.Seq[lampState], changes bool) string {
	for s := range component {
		if s.on {
			if changes {
				return "STEADY"
			}
			return ""
		}
	}
	return "LIGHT"
}

func (l lamp) Describe(s Step) string   { return []string{"switch", "break", "repair"}[s.Kind] }
func (l lamp) Print(s lampState) string { return fmt.Sprintf("%+v", s) }

func TestRun(t *testing.T) {
	tests := []struct {
		name         string
		lamp         lamp
		states, ends int
		broken       string
		trace        []string
	}{
		{"without faults", lamp{}, 2, 1, "", nil},
		{"a step that is not allowed", lamp{breaks: true, forbidden: true}, 2, 0, "WHOLE", []string{"1. switch", "* break: WHOLE"}},
		{"an end without light", lamp{breaks: true}, 3, 2, "LIGHT", []string{"1. switch", "2. break", "for ever (1 states): LIGHT"}},
		{"a way back", lamp{breaks: true, repair: true}, 3, 1, "", nil},
		{"changes for ever", lamp{flicker: true}, 2, 1, "STEADY", []string{"for ever (2 states): STEADY", "- switch"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := Run(tt.lamp, 100)
			if r.States != tt.states || r.Ends != tt.ends || r.Broken != tt.broken {
				t.Errorf("found %d states, %d ends, %q; want %d, %d, %q", r.States, r.Ends, r.Broken, tt.states, tt.ends, tt.broken)
			}
			at := 0
			for _, line := range tt.trace {
				i := strings.Index(r.Trace[at:], line)
				if i < 0 {
					t.Fatalf("no %q in the rest of the trace\n%s", line, r.Trace)
				}
				at += i
			}
		})
	}
	if r := Run(lamp{}, 1); r.Broken != TooMany {
		t.Errorf("a search with a limit found %q", r.Broken)
	}
}

// ladder has n states in a row. A step leads from the last one back to the state back.
type ladder struct{ n, back int }

func (l ladder) Initial() iter.Seq[int] { return slices.Values([]int{0}) }

func (l ladder) Next(s int, take func(Step, int)) {
	if s+1 < l.n {
		take(Step{}, s+1)
	} else {
		take(Step{}, l.back)
	}
}

func (l ladder) Judge(component iter.Seq[int], _ bool) string {
	if n := len(slices.Collect(component)); n != l.n-l.back {
		return fmt.Sprintf("an end of %d states", n)
	}
	return ""
}

func (l ladder) Describe(Step) string { return "step" }
func (l ladder) Print(s int) string   { return fmt.Sprint(s) }

// Many states: the table grows by chunks and slots, and components are found without recursion.
func TestLarge(t *testing.T) {
	l := ladder{n: 3*chunk + 7, back: chunk}
	if r := Run(l, 4*chunk); r.States != l.n || r.Ends != 1 || r.Broken != "" {
		t.Errorf("found %d states, %d ends, %q", r.States, r.Ends, r.Broken)
	}
}
