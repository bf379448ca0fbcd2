package ring

import (
	"slices"
	"strconv"
	"testing"
)

func appendNumber(b []byte, n int) []byte { return strconv.AppendInt(b, int64(n), 10) }

// historyOf appends views of these epochs, one after the other.
func historyOf(epochs ...uint32) History {
	var h History
	for _, e := range epochs {
		h = h.Append(View{Epoch: e})
	}
	return h
}

func epochs(views []View) []uint32 {
	var es []uint32
	for _, v := range views {
		es = append(es, v.Epoch)
	}
	return es
}

func TestHistoryAppend(t *testing.T) {
	var h History
	if h.Current().Epoch != 0 {
		t.Errorf("an empty history is in epoch %d, want 0", h.Current().Epoch)
	}
	for e := uint32(5); e < 5+2*MaxHistory; e++ {
		before := epochs(h.Views)
		next := h.Append(View{Epoch: e})
		if got := epochs(h.Views); !slices.Equal(got, before) {
			t.Fatalf("Append changed its receiver from %v to %v", before, got)
		}
		h = next
		if h.Current().Epoch != e || h.First != 5 {
			t.Fatalf("current %d, first %d, want %d and 5", h.Current().Epoch, h.First, e)
		}
		if want := min(int(e-4), MaxHistory); len(h.Views) != want {
			t.Fatalf("%d views after %d, want %d", len(h.Views), e-4, want)
		}
	}
	if got := h.Views[0].Epoch; got != 5+MaxHistory {
		t.Errorf("oldest view is %d, want %d", got, 5+MaxHistory)
	}
}

// Two histories that grow from one must not see each other's views.
func TestHistoryAppendForks(t *testing.T) {
	h := historyOf(1, 2, 3)
	a, b := h.Append(View{Epoch: 4}), h.Append(View{Epoch: 9})
	if a.Current().Epoch != 4 || b.Current().Epoch != 9 {
		t.Errorf("forks are in epochs %d and %d, want 4 and 9", a.Current().Epoch, b.Current().Epoch)
	}
}

func TestHistoryBetween(t *testing.T) {
	whole := historyOf(10, 20, 30, 40)
	cut := whole
	cut.Views = cut.Views[1:] // The first view is forgotten.
	tests := []struct {
		name          string
		history       History
		after, before uint32
		want          []uint32
		complete      bool
	}{
		{"nothing between neighbours", whole, 20, 30, nil, true},
		{"one between", whole, 20, 40, []uint32{30}, true},
		{"both ends are left out", whole, 10, 40, []uint32{20, 30}, true},
		{"the empty copy of epoch 0", whole, 0, 40, []uint32{10, 20, 30}, true},
		{"everybody is new", whole, 0, 10, nil, true},
		{"before the current", whole, 0, 50, []uint32{10, 20, 30, 40}, true},
		{"a cut history, back to the copy", cut, 20, 40, []uint32{30}, true},
		{"a cut history, the copy is younger", cut, 30, 40, nil, true},
		{"a cut history, the copy is older", cut, 10, 40, []uint32{20, 30}, false},
		{"a cut history, no copy", cut, 0, 40, []uint32{20, 30}, false},
		{"no history", History{}, 0, 10, nil, false},
		{"no history, but a first epoch", History{First: 10}, 0, 10, nil, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			views, complete := tt.history.Between(tt.after, tt.before)
			if got := epochs(views); !slices.Equal(got, tt.want) || complete != tt.complete {
				t.Errorf("Between(%d, %d) = %v, %v, want %v, %v", tt.after, tt.before, got, complete, tt.want, tt.complete)
			}
		})
	}
}

// After MaxHistory views the first is gone, and a copy from before cannot be
// judged any more.
func TestHistoryBetweenAfterTheCut(t *testing.T) {
	var h History
	for e := uint32(1); e <= MaxHistory; e++ {
		h = h.Append(View{Epoch: e})
	}
	if _, complete := h.Between(0, MaxHistory+1); !complete {
		t.Error("a history that begins with the first view is not complete")
	}
	h = h.Append(View{Epoch: MaxHistory + 1})
	if _, complete := h.Between(1, MaxHistory+2); complete {
		t.Error("the view after epoch 1 may be forgotten, but the history says it is complete")
	}
	if views, complete := h.Between(2, MaxHistory+2); !complete || len(views) != MaxHistory-1 {
		t.Errorf("%d views, %v, want %d and complete", len(views), complete, MaxHistory-1)
	}
}

func TestViewFind(t *testing.T) {
	v := viewOf(2, "a", "b")
	b := v.Members[1]
	if m, ok := v.Find(b.Identity); !ok || m != b {
		t.Errorf("Find = %v, %v", m, ok)
	}
	if m, ok := v.FindID("b"); !ok || m != b {
		t.Errorf("FindID = %v, %v", m, ok)
	}
	b.Nonce++
	if m, ok := v.Find(b.Identity); ok {
		t.Errorf("Find of another incarnation = %v", m)
	}
	if m, ok := v.FindID("c"); ok {
		t.Errorf("FindID of nobody = %v", m)
	}
}

func TestViewCloneAndString(t *testing.T) {
	v := viewOf(2, "a", "b")
	v.Members[1].Leaving = true
	c := v.Clone()
	v.Members[0].Name = "changed"
	if got, want := c.String(), "view 7 R=2 [node-0 node-1(leaving)]"; got != want {
		t.Errorf("String = %q, want %q", got, want)
	}
	id := Identity{ID: "4f1d8a30b7c9e265", Counter: 3, Nonce: 0xbeef}
	if got, want := id.String(), "4f1d8a30b7c9e265.3-000000000000beef"; got != want {
		t.Errorf("Identity = %q, want %q", got, want)
	}
}
