package compact

import (
	"testing"
	"time"
)

// Check finds every kind of damage that these cases do.
func TestCheckFindsDamage(t *testing.T) {
	heap := func(damage func(h *Deadlines)) error {
		var h Deadlines
		for id := range uint32(10) {
			h.Set(id+1, time.Duration(id))
		}
		damage(&h)
		return h.Check()
	}
	blocks := func(damage func(t *Arena)) error {
		var t Arena
		t.Put("k", "c", "r")
		damage(&t)
		return t.Check()
	}
	records := func(damage func(s *Slab[int])) error {
		var s Slab[int]
		s.Take()
		damage(&s)
		return s.Check()
	}
	table := func(n int, damage func(t *HashTable[uint32])) error {
		var t HashTable[uint32]
		for id := range uint32(n) {
			t.Put(id*0x9e3779b9, id+1)
		}
		damage(&t)
		return t.Check()
	}
	for name, check := range map[string]func(damaged bool) error{
		"heap order": func(damaged bool) error {
			return heap(func(h *Deadlines) {
				if damaged {
					e := h.heap.at(0)
					e.at, e.Due = time.Hour, time.Hour
				}
			})
		},
		"heap place": func(damaged bool) error {
			return heap(func(h *Deadlines) {
				if damaged {
					h.heap.at(0).ID = h.heap.at(1).ID
				}
			})
		},
		"late entry": func(damaged bool) error {
			return heap(func(h *Deadlines) {
				if damaged {
					h.heap.at(9).at++
				}
			})
		},
		"lost block": func(damaged bool) error {
			return blocks(func(t *Arena) {
				if damaged {
					t.arena.end += unit
				}
			})
		},
		"block free twice": func(damaged bool) error {
			return blocks(func(t *Arena) {
				id := t.Put("k", "c", "s")
				t.Remove(id)
				if damaged {
					t.arena.release(id, unitsOf(3))
				}
			})
		},
		"record free twice": func(damaged bool) error {
			return records(func(s *Slab[int]) {
				s.Give(s.Take())
				if damaged {
					s.free.n++
				}
			})
		},
		"count of a small table": func(damaged bool) error {
			return table(10, func(t *HashTable[uint32]) {
				if damaged {
					t.one.n++
				}
			})
		},
		"count of a large table": func(damaged bool) error {
			return table(4*splitFrom, func(t *HashTable[uint32]) {
				if damaged {
					t.many.n++
				}
			})
		},
		"record in another table": func(damaged bool) error {
			return table(4*splitFrom, func(t *HashTable[uint32]) {
				if damaged {
					d := t.many
					d.buckets[0], d.buckets[1] = d.buckets[1], d.buckets[0]
				}
			})
		},
		"record not found": func(damaged bool) error {
			return table(10, func(t *HashTable[uint32]) {
				if damaged {
					for i := range t.one.slots {
						if s := &t.one.slots[i]; s.id != 0 {
							s.hash += 1 << 31
						}
					}
				}
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			if err := check(false); err != nil {
				t.Errorf("without damage: %v", err)
			}
			if check(true) == nil {
				t.Error("Check finds nothing")
			}
		})
	}
}
