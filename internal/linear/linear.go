package linear

import (
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
)

const (
	// mostCalls is the longest history of one key that is searched as a whole.
	mostCalls = 8000
	// mostSteps bounds the search in one part of a key's history. It is a number of steps and not
	// a time, because the result must not depend on the machine, and because no time passes during
	// the search in a bubble of testing/synctest.
	mostSteps = 1 << 21
	// mostErrors is how many keys are reported: one bug often shows in many keys.
	mostErrors = 3
	// shownCalls is the number of calls that an error shows on each side of the place where the
	// search got stuck.
	shownCalls = 12
)

// The errors of a check.
var (
	// ErrIllegal: no order of the calls explains all answers.
	ErrIllegal = errors.New("not linearizable")
	// ErrUndecided: the search gave up, which proves nothing.
	ErrUndecided = errors.New("linearizability undecided")
)

var errTooLong = fmt.Errorf("%w: no place to cut", ErrUndecided)

// Check looks for an order of the calls of every key that explains all answers. State may
// have been lost from the moment troubled on; the zero time means never. The error names the
// keys without such an order and shows how far the search came; it matches ErrIllegal or
// ErrUndecided.
func Check(calls []Call, troubled time.Time) error {
	return limits{mostCalls, mostSteps}.check(calls, troubled)
}

// limits bound the search.
type limits struct{ calls, steps int }

func (l limits) check(calls []Call, troubled time.Time) error {
	if len(calls) == 0 {
		return nil
	}
	byKey := map[string][]*Call{}
	var keys []string
	start := calls[0].Start
	for i := range calls {
		c := &calls[i]
		if byKey[c.Key] == nil {
			keys = append(keys, c.Key)
		}
		byKey[c.Key] = append(byKey[c.Key], c)
		if c.Start.Before(start) {
			start = c.Start
		}
	}
	from := int64(never)
	if !troubled.IsZero() {
		from = int64(troubled.Sub(start))
	}
	var errs []error
	for _, key := range keys {
		if err := l.key(start, byKey[key], from); err != nil {
			errs = append(errs, fmt.Errorf("key %q: %w", key, err))
		}
		if len(errs) == mostErrors {
			break
		}
	}
	return errors.Join(errs...)
}

// key checks the calls of one key.
func (l limits) key(start time.Time, calls []*Call, troubled int64) error {
	k, err := prepare(start, calls, troubled)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrIllegal, err)
	}
	parts, err := k.segments(l.calls)
	if err != nil {
		return err
	}
	for _, part := range parts {
		if err := l.search(k, part, troubled); err != nil {
			return err
		}
	}
	return nil
}

func (l limits) search(k *keyHistory, s segment, troubled int64) error {
	history := make([]porcupine.Operation, len(s.ops))
	for i, o := range s.ops {
		history[i] = porcupine.Operation{Input: o, Call: o.start, Return: o.end}
	}
	m := &model{troubled: troubled, first: s.first, grants: k.grants, seed: maphash.MakeSeed(), steps: l.steps}
	if porcupine.CheckOperations(m.porcupine(), history) {
		return nil
	}
	if m.steps < 0 {
		return fmt.Errorf("%w: %d calls, given up after %d steps", ErrUndecided, len(s.ops), l.steps)
	}
	// Search again, to collect the details for the error.
	m.steps = l.steps
	_, info := porcupine.CheckOperationsVerbose(m.porcupine(), history, 0)
	var longest []int
	for _, partial := range info.PartialLinearizations()[0] {
		if len(partial) > len(longest) {
			longest = partial
		}
	}
	return fmt.Errorf("%w: %s", ErrIllegal, stuck(k.start, s, longest))
}

// stuck formats the end of the longest order that explains its answers, and the calls of which
// one would have to be next.
func stuck(start time.Time, s segment, order []int) string {
	var b strings.Builder
	list := func(calls []*op) {
		for _, o := range calls {
			fmt.Fprintf(&b, "    %s\n", o.call.line(start))
		}
	}
	ordered := make([]bool, len(s.ops))
	var last []*op
	for _, i := range order {
		ordered[i] = true
		last = append(last, s.ops[i])
	}
	var next []*op
	end := int64(never)
	for i, o := range s.ops {
		if !ordered[i] {
			next, end = append(next, o), min(end, o.end)
		}
	}
	next = slices.DeleteFunc(next, func(o *op) bool { return o.start > end })
	fmt.Fprintf(&b, "%d of %d calls have an order; its end:\n", len(order), len(s.ops))
	list(last[max(0, len(last)-shownCalls):])
	b.WriteString("  one of these would have to be next:\n")
	list(next[:min(len(next), shownCalls)])
	return strings.TrimSuffix(b.String(), "\n")
}
