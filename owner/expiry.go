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

// deadlines is a 4-ary heap of claims, by number, and the time at which Tick must
// look at each. An entry may be early, never late: a renewal only stores the new
// time, and the entry is put right when it comes to the top. The place of every
// claim is known, so that one that ends leaves at once and nothing stale piles up.
// The zero value is empty.
type deadlines struct {
	heap array[deadline]
	// places has for each claim, by number, its place in the heap, from 1; 0 is not in it.
	places sparseArray
}

type deadline struct {
	// at orders the heap; at <= due.
	at time.Duration
	// due is when the claim is due.
	due time.Duration
	id  uint32
}

const arity = 4

func (h *deadlines) len() int { return h.heap.len() }

// entry is the one of a claim, or nil.
func (h *deadlines) entry(id uint32) *deadline {
	if id == 0 {
		return nil
	}
	place := h.places.get(id)
	if place == 0 {
		return nil
	}
	return h.heap.at(int(place) - 1)
}

// set says when a claim is due.
func (h *deadlines) set(id uint32, due time.Duration) {
	e := h.entry(id)
	switch {
	case e == nil:
		h.heap.push(deadline{at: due, due: due, id: id})
		h.up(h.heap.len() - 1)
	case due < e.at:
		e.at, e.due = due, due
		h.up(int(h.places.get(id)) - 1)
	default:
		e.due = due
	}
}

// remove takes a claim out, if it is in.
func (h *deadlines) remove(id uint32) {
	if h.entry(id) == nil {
		return
	}
	i, last := int(h.places.get(id))-1, h.heap.len()-1
	h.places.set(id, 0)
	moved := *h.heap.at(last)
	h.heap.pop()
	if i < last {
		h.put(i, moved)
		h.up(i)
		h.down(int(h.places.get(moved.id)) - 1)
	}
}

// move gives a claim another number.
func (h *deadlines) move(from, to uint32) {
	place := h.places.get(from)
	if place == 0 {
		return
	}
	h.places.set(from, 0)
	h.places.set(to, place)
	h.heap.at(int(place) - 1).id = to
}

// first is the claim that is due first and when; 0 when there is none that is known. due
// says when an entry's claim is due, not before the entry does. At most some entries that
// are early are put right.
func (h *deadlines) first(due func(*deadline) time.Duration) (id uint32, at time.Duration) {
	for range tickMost {
		if h.heap.len() == 0 {
			break
		}
		top := h.heap.at(0)
		if top.due = due(top); top.due <= top.at {
			return top.id, top.due
		}
		top.at = top.due
		h.down(0)
	}
	return 0, 0
}

// over is the claim that is due first, if it is due by now, or 0. It puts entries right
// that are early, at most left of them.
func (h *deadlines) over(now time.Duration, left *int, due func(*deadline) time.Duration) (id uint32) {
	for ; h.heap.len() > 0 && h.heap.at(0).at <= now && *left > 0; *left-- {
		top := h.heap.at(0)
		if top.due = due(top); top.due <= top.at {
			return top.id
		}
		top.at = top.due
		h.down(0)
	}
	return 0
}

func (h *deadlines) up(i int) {
	e := *h.heap.at(i)
	for i > 0 {
		parent := *h.heap.at((i - 1) / arity)
		if parent.at <= e.at {
			break
		}
		h.put(i, parent)
		i = (i - 1) / arity
	}
	h.put(i, e)
}

func (h *deadlines) down(i int) {
	e := *h.heap.at(i)
	for {
		child := arity*i + 1
		if child >= h.heap.len() {
			break
		}
		least := child
		for j := child + 1; j < min(child+arity, h.heap.len()); j++ {
			if h.heap.at(j).at < h.heap.at(least).at {
				least = j
			}
		}
		if e.at <= h.heap.at(least).at {
			break
		}
		h.put(i, *h.heap.at(least))
		i = least
	}
	h.put(i, e)
}

func (h *deadlines) put(i int, e deadline) {
	*h.heap.at(i) = e
	h.places.set(e.id, uint32(i+1))
}

// clear forgets everything.
func (h *deadlines) clear() { *h = deadlines{} }
