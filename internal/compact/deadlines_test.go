package compact

import (
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// entryDue returns a claim's deadline from its entry.
func entryDue(e *Deadline) time.Duration { return e.Due }

// The heap returns the claims in the order of their deadlines, whatever renewals and removals happen in
// between.
func TestDeadlinesAgainstSorting(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var h Deadlines
		live := map[uint32]time.Duration{}
		at := rapid.Custom(func(t *rapid.T) time.Duration {
			return time.Duration(rapid.IntRange(0, 1000).Draw(t, "at"))
		})
		pick := func(t *rapid.T) uint32 {
			if len(live) == 0 {
				t.Skip("empty")
			}
			return rapid.SampledFrom(slices.Sorted(maps.Keys(live))).Draw(t, "claim")
		}
		drop := func(id uint32) {
			h.Remove(id)
			delete(live, id)
		}
		set := func(t *rapid.T) {
			id := rapid.Uint32Range(1, 100).Draw(t, "claim")
			live[id] = at.Draw(t, "deadline")
			h.Set(id, live[id])
		}
		t.Repeat(map[string]func(*rapid.T){
			"set": set, "set 2": set, "set 3": set,
			"renew": func(t *rapid.T) {
				id := pick(t)
				live[id] = at.Draw(t, "deadline")
				h.Set(id, live[id])
			},
			"remove": func(t *rapid.T) { drop(pick(t)) },
			"pop": func(t *rapid.T) {
				id, due := h.First(100, entryDue)
				if id == 0 {
					t.Skip("empty")
				}
				if due != live[id] {
					t.Fatalf("due at %v, its deadline is %v", due, live[id])
				}
				drop(id)
			},
			"": func(t *rapid.T) {
				if h.Len() != len(live) {
					t.Fatalf("%d entries for %d claims", h.Len(), len(live))
				}
				first, due := h.First(100, entryDue)
				for id, at := range live {
					if first == 0 || at < due {
						t.Fatalf("first is due at %v, another at %v", due, at)
					}
					if h.Entry(id).Due != at {
						t.Fatalf("claim %d is due at %v, want %v", id, h.Entry(id).Due, at)
					}
				}
				if err := h.Check(); err != nil {
					t.Fatal(err)
				}
			},
		})
	})
}

// A renewal only stores the deadline. The heap is corrected when the first deadline is needed.
func TestRenewalsAreLazy(t *testing.T) {
	var h Deadlines
	for id := range uint32(100) {
		h.Set(id+1, 10)
		h.Set(id+1, 20)
	}
	if id := h.Over(9, new(100), entryDue); id != 0 || h.heap.at(0).at != 10 {
		t.Errorf("claim %d is over, the top entry is for %v, want none and 10", id, h.heap.at(0).at)
	}
	if id := h.Over(10, new(100), entryDue); id != 0 || h.heap.at(0).at != 20 {
		t.Errorf("claim %d is over, the top entry is for %v, want none and 20", id, h.heap.at(0).at)
	}
	if h.Over(20, new(100), entryDue) == 0 {
		t.Error("no claim is over in its time")
	}
}
