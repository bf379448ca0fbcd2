package compact

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func (q *Queue[T]) chunks() [][]T {
	if q.full == nil {
		return [][]T{q.tail}
	}
	return append(slices.Clone(*q.full), q.tail)
}

// A queue that never becomes empty has memory for its contents, not for everything it ever contained.
func TestFifoStaysSmall(t *testing.T) {
	var q Queue[*int]
	q.Push(new(int))
	for range 10_000 {
		q.Push(new(int))
		q.Drop(1)
		if q.Room() > keptRoom {
			t.Fatalf("room for %d with one in it", q.Room())
		}
	}
}

// A queue returns entries in the order in which they were pushed, and forgets those that were dropped.
func TestFifo(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var q Queue[*int]
		var want []*int
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			for range rapid.IntRange(0, 200).Draw(t, "push") {
				q.Push(new(int))
				want = append(want, *q.At(q.Len() - 1))
			}
			n := rapid.IntRange(0, len(want)).Draw(t, "drop")
			for i := range n {
				if *q.At(i) != want[i] {
					t.Fatal("not in order")
				}
			}
			q.Drop(n)
			want = want[n:]
			if q.Len() != len(want) || len(want) > 0 && *q.At(0) != want[0] {
				t.Fatalf("%d are left, want %d", q.Len(), len(want))
			}
			if slices.ContainsFunc(q.chunks()[0][:q.head], func(old *int) bool { return old != nil }) {
				t.Fatal("what was dropped is still there")
			}
			if q.Room() > q.Len()+2*queueChunk {
				t.Fatalf("room for %d with %d in it", q.Room(), q.Len())
			}
		}
	})
}
