package owner

import "time"

// Stretch is d times 1.1, rounded up: how long to wait for the end of a time
// that another process measures.
func Stretch(d time.Duration) time.Duration { return d + (d+9)/10 }

// unstretch is the shortest d whose Stretch is at least as long as left.
func unstretch(left time.Duration) time.Duration {
	d := left - left/11
	for d > 0 && Stretch(d-1) >= left {
		d--
	}
	return d
}

// deadlines is a 4-ary heap of claims by the time at which Tick must look at
// them. A claim's entry may be early, never late: a renewal only stores the new
// deadline in the claim, and the entry is put right when it comes to the top. A
// claim knows its place, so that one that ends leaves at once and nothing stale
// piles up. The zero value is empty.
type deadlines struct{ heap []deadline }

type deadline struct {
	at time.Duration
	c  *claim
}

const arity = 4

// set enters a claim, or takes notice that its due has changed.
func (h *deadlines) set(c *claim) {
	due := c.due()
	if c.place == 0 {
		h.heap = append(h.heap, deadline{at: due, c: c})
		c.place = int32(len(h.heap))
		h.up(len(h.heap) - 1)
		return
	}
	if i := int(c.place) - 1; due < h.heap[i].at {
		h.heap[i].at = due
		h.up(i)
	}
}

// remove takes a claim out, if it is in.
func (h *deadlines) remove(c *claim) {
	if c.place == 0 {
		return
	}
	i, last := int(c.place)-1, len(h.heap)-1
	c.place = 0
	moved := h.heap[last]
	h.heap[last] = deadline{}
	h.heap = h.heap[:last]
	if i < last {
		h.heap[i] = moved
		h.up(i)
		h.down(int(moved.c.place) - 1)
	}
	h.shrink()
}

// first is the claim that is due first and when; nil when there is none.
func (h *deadlines) first() (*claim, time.Duration) {
	for len(h.heap) > 0 {
		top := &h.heap[0]
		due := top.c.due()
		if due <= top.at {
			return top.c, due
		}
		top.at = due
		h.down(0)
	}
	return nil, 0
}

func (h *deadlines) up(i int) {
	e := h.heap[i]
	for i > 0 {
		parent := (i - 1) / arity
		if h.heap[parent].at <= e.at {
			break
		}
		h.put(i, h.heap[parent])
		i = parent
	}
	h.put(i, e)
}

func (h *deadlines) down(i int) {
	e := h.heap[i]
	for {
		child := arity*i + 1
		if child >= len(h.heap) {
			break
		}
		least := child
		for j := child + 1; j < min(child+arity, len(h.heap)); j++ {
			if h.heap[j].at < h.heap[least].at {
				least = j
			}
		}
		if e.at <= h.heap[least].at {
			break
		}
		h.put(i, h.heap[least])
		i = least
	}
	h.put(i, e)
}

func (h *deadlines) put(i int, e deadline) {
	h.heap[i] = e
	e.c.place = int32(i + 1)
}

// shrink gives memory back when an eighth of it is used.
func (h *deadlines) shrink() {
	if cap(h.heap) >= leanFrom && len(h.heap) <= cap(h.heap)/8 {
		h.heap = append(make([]deadline, 0, 2*len(h.heap)), h.heap...)
	}
}

// clear forgets everything.
func (h *deadlines) clear() {
	for i := range h.heap {
		h.heap[i].c.place = 0
	}
	h.heap = nil
}
