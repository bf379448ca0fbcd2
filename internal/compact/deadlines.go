package compact

import (
	"fmt"
	"time"
)

// Deadlines is a 4-ary heap of records, by number, and their deadlines. The position of an entry in
// the heap may be too early, never too late: setting a later deadline only stores it, and the entry
// is moved when it comes to the top. The place of every record is known, so a record that is
// removed leaves the heap at once, and no stale entries pile up. The zero value is empty.
type Deadlines struct {
	heap array[Deadline]
	// places has for each record, by number, its place in the heap, from 1; 0 if it is not in it.
	places sparseArray
}

// A Deadline is the entry of one record.
type Deadline struct {
	// at orders the heap. It is never later than Due.
	at time.Duration
	// Due is the deadline, ID the number of the record.
	Due time.Duration
	ID  uint32
}

const arity = 4

// Len returns the number of records.
func (h *Deadlines) Len() int { return h.heap.len() }

// Entry returns the entry of a record, or nil. It is valid until the heap changes.
func (h *Deadlines) Entry(id uint32) *Deadline {
	if id == 0 {
		return nil
	}
	place := h.places.get(id)
	if place == 0 {
		return nil
	}
	return h.heap.at(int(place) - 1)
}

// Set sets the deadline of a record.
func (h *Deadlines) Set(id uint32, due time.Duration) {
	e := h.Entry(id)
	switch {
	case e == nil:
		h.heap.push(Deadline{at: due, Due: due, ID: id})
		h.up(h.heap.len() - 1)
	case due < e.at:
		e.at, e.Due = due, due
		h.up(int(h.places.get(id)) - 1)
	default:
		e.Due = due
	}
}

// Remove removes a record, if it is in the heap.
func (h *Deadlines) Remove(id uint32) {
	if h.Entry(id) == nil {
		return
	}
	i, last := int(h.places.get(id))-1, h.heap.len()-1
	h.places.set(id, 0)
	moved := *h.heap.at(last)
	h.heap.pop()
	if i < last {
		h.put(i, moved)
		h.up(i)
		h.down(int(h.places.get(moved.ID)) - 1)
	}
}

// Soonest returns a time that is no later than the first deadline. There must be one.
func (h *Deadlines) Soonest() time.Duration { return h.heap.at(0).at }

// Trim frees the memory for the places of records with numbers above n, which must not be in the
// heap.
func (h *Deadlines) Trim(n int) { h.places.cut(n) }

// Renumber gives a record another number.
func (h *Deadlines) Renumber(from, to uint32) {
	place := h.places.get(from)
	if place == 0 {
		return
	}
	h.places.set(from, 0)
	h.places.set(to, place)
	h.heap.at(int(place) - 1).ID = to
}

// First returns the record with the first deadline, and the deadline; or 0 if there is none, or
// none was found because most entries were too early. due returns the deadline of an entry, which
// may be later than its Due. At most most entries that are too early are moved.
func (h *Deadlines) First(most int, due func(*Deadline) time.Duration) (id uint32, at time.Duration) {
	for range most {
		if h.heap.len() == 0 {
			break
		}
		top := h.heap.at(0)
		if top.Due = due(top); top.Due <= top.at {
			return top.ID, top.Due
		}
		top.at = top.Due
		h.down(0)
	}
	return 0, 0
}

// Over returns the record with the first deadline if that is not after now, or 0. It moves at most
// left entries that are too early.
func (h *Deadlines) Over(now time.Duration, left *int, due func(*Deadline) time.Duration) (id uint32) {
	for ; h.heap.len() > 0 && h.heap.at(0).at <= now && *left > 0; *left-- {
		top := h.heap.at(0)
		if top.Due = due(top); top.Due <= top.at {
			return top.ID
		}
		top.at = top.Due
		h.down(0)
	}
	return 0
}

func (h *Deadlines) up(i int) {
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

func (h *Deadlines) down(i int) {
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

func (h *Deadlines) put(i int, e Deadline) {
	*h.heap.at(i) = e
	h.places.set(e.ID, uint32(i+1))
}

// Clear removes all records.
func (h *Deadlines) Clear() { *h = Deadlines{} }

// Check returns an error unless the entries are a heap and know their places.
func (h *Deadlines) Check() error {
	for i := range h.Len() {
		e := h.heap.at(i)
		switch {
		case h.Entry(e.ID) != e:
			return fmt.Errorf("deadline %d of claim %d is not in its place", i, e.ID)
		case i > 0 && h.heap.at((i-1)/arity).at > e.at:
			return fmt.Errorf("deadline %d is before its parent", i)
		case e.at > e.Due:
			return fmt.Errorf("deadline %d is late for claim %d", i, e.ID)
		}
	}
	return nil
}

// Room returns the number of records that there is memory for.
func (h *Deadlines) Room() int { return max(h.heap.room(), h.places.room()) }
