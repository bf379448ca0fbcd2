package wake

import "testing"

// Wake-ups are kept, and several are one.
func TestSignal(t *testing.T) {
	s := New()
	taken := func() (n int) {
		for {
			select {
			case <-s:
				n++
			default:
				return n
			}
		}
	}
	if n := taken(); n != 0 {
		t.Errorf("a new signal has %d wake-ups, want none", n)
	}
	for range 3 {
		s.Set()
	}
	if n := taken(); n != 1 {
		t.Errorf("set three times it has %d wake-ups, want 1", n)
	}
	s.Set()
	if n := taken(); n != 1 {
		t.Errorf("set again it has %d wake-ups, want 1", n)
	}
}
