package mesh

import "testing"

func TestRoom(t *testing.T) {
	var r room
	for i := range 3 {
		if got := r.enter(2); got != (i < 2) {
			t.Errorf("entry %d of a room of two: %t", i+1, got)
		}
	}
	r.leave()
	if !r.enter(2) || r.enter(2) {
		t.Error("a place that was given back is not given again")
	}
}
