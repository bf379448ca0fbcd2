package owner

import (
	"bytes"
	"hash/maphash"
	"slices"
	"time"

	"github.com/sgkandale/sharelock"
)

// keys are the keys that are held or waited for. Nearly all of them have one
// holder and nobody who waits: such a hold is a record, a text and an entry of an
// index, all without pointers. What else there can be about a key is in its crowd.
//
// Make it with [newKeys].
type keys struct {
	seed maphash.Seed
	// alone finds the hold of each key that has one hold, no waiter and no slots.
	alone hashTable
	// crowds are all other keys, by name.
	crowds lean[string, *crowd]

	// claims are all claims, mores what some of them have besides, and texts the texts
	// of those that are alone with their keys.
	claims slab[claim]
	texts  texts
	mores  slab[*more]
}

func newKeys() keys { return keys{seed: maphash.MakeSeed()} }

// len is the number of keys.
func (s *keys) len() int { return s.alone.n + s.crowds.len() }

// hash is the index's hash of a name.
func (s *keys) hash(name string) uint32 { return uint32(maphash.String(s.seed, name) >> 32) }

// get is the key with this name.
func (s *keys) get(name string) key {
	k := key{of: s}
	if s.crowds.len() > 0 {
		k.crowd, _ = s.crowds.get(name)
	}
	if k.crowd == nil && s.alone.n > 0 {
		id := s.alone.find(s.hash(name), func(id uint32) bool {
			found, _, _ := s.texts.parts(s.claims.at(id).text)
			return string(found) == name
		})
		if id != 0 {
			k.alone = s.claims.at(id)
		}
	}
	return k
}

// of is the key of a claim.
func (s *keys) of(c *claim) key {
	if c.text == 0 {
		return s.crowded(s.more(c).crowd)
	}
	return key{of: s, alone: c}
}

// ids are the ids of a claim, and the name of its key.
func (s *keys) ids(c *claim) (name, client, request string) {
	if c.text == 0 {
		w := s.more(c)
		return w.crowd.name, w.client, w.request
	}
	return s.texts.get(c.text)
}

// crowded is the key of a crowd, which may have ended.
func (s *keys) crowded(cr *crowd) key { return key{of: s, crowd: cr} }

// more is what a claim has besides, or nil.
func (s *keys) more(c *claim) *more {
	if c.more == 0 {
		return nil
	}
	return *s.mores.at(c.more)
}

// meta is the metadata of a claim; nobody may change it.
func (s *keys) meta(c *claim) map[string]string {
	if c.more == 0 {
		return nil
	}
	return s.more(c).meta
}

// setMeta gives a claim other metadata.
func (s *keys) setMeta(c *claim, meta map[string]string) {
	if len(meta) > 0 {
		s.extend(c).meta = meta
	} else if w := s.more(c); w != nil {
		w.meta = nil
		s.shorten(c)
	}
}

// maxHold is the longest that a claim may be held; 0 is no limit.
func (s *keys) maxHold(c *claim) time.Duration {
	if c.more == 0 {
		return 0
	}
	return s.more(c).maxHold
}

// isOf reports whether a claim is of this client.
func (s *keys) isOf(c *claim, client string) bool {
	if c.text == 0 {
		return s.more(c).client == client
	}
	_, found, _ := s.texts.parts(c.text)
	return string(found) == client
}

// add makes the claim of a grant to one who has not waited, or of an enqueue. The
// op fits the key.
func (s *keys) add(k key, op *Op) *claim {
	id := s.claims.take()
	c := s.claims.at(id)
	*c = claim{id: id, token: op.Token, conn: op.Conn}
	c.setTTL(op.TTL)
	c.set(isShared, op.Mode == sharelock.Shared)
	c.set(isOwnID, op.OwnID)
	c.set(isResent, op.Resent)
	if len(op.Metadata) > 0 {
		s.extend(c).meta = op.Metadata
	}
	if op.MaxHold > 0 {
		s.extend(c).maxHold = op.MaxHold
	}
	switch {
	case k.idle() && c.held() && op.Slots == 0:
		s.enter(c, op.Key, op.ClientID, op.RequestID)
		return c
	case k.crowd == nil:
		k.crowd = s.gather(k, op)
	}
	s.join(k.crowd, c, op.ClientID, op.RequestID)
	return c
}

// gather makes a crowd of a key that has none.
func (s *keys) gather(k key, op *Op) *crowd {
	cr := &crowd{name: op.Key, slots: op.Slots}
	s.crowds.put(cr.name, cr)
	if c := k.alone; c != nil {
		_, client, request := s.texts.get(c.text)
		s.exit(c)
		s.join(cr, c, client, request)
	}
	return cr
}

// enter makes a claim alone with its key.
func (s *keys) enter(c *claim, name, client, request string) {
	c.text = s.texts.put(name, client, request)
	s.alone.put(s.hash(name), c.id)
}

// exit ends that a claim is alone with its key.
func (s *keys) exit(c *claim) {
	name, _, _ := s.texts.parts(c.text)
	s.alone.remove(uint32(maphash.Bytes(s.seed, name)>>32), c.id)
	s.texts.remove(c.text)
	c.text = 0
}

// extend gives a claim room for more.
func (s *keys) extend(c *claim) *more {
	if c.more == 0 {
		c.more = s.mores.take()
		*s.mores.at(c.more) = &more{claim: c}
	}
	return s.more(c)
}

// shorten takes the room for more away, if there is no more.
func (s *keys) shorten(c *claim) {
	if w := s.more(c); w != nil && w.crowd == nil && w.meta == nil && w.maxHold == 0 {
		s.mores.give(c.more)
		c.more = 0
	}
}

func (s *keys) join(cr *crowd, c *claim, client, request string) {
	w := s.extend(c)
	w.client, w.request = client, request
	cr.join(w)
}

// promote turns a waiter into the newest hold of its key.
func (s *keys) promote(w *more, token sharelock.Token) {
	cr := w.crowd
	cr.promote(w, token)
	w.waiting = waiting{}
	s.settle(cr)
}

// remove ends a claim.
func (s *keys) remove(c *claim) {
	if c.text == 0 {
		w := s.more(c)
		cr := w.crowd
		cr.leave(w)
		s.settle(cr)
	} else {
		s.exit(c)
	}
	if c.more != 0 {
		s.mores.give(c.more)
	}
	s.claims.give(c.id)
}

// settle ends a crowd that is none any more. It has no claim then.
func (s *keys) settle(cr *crowd) {
	if cr.waiting.n > 0 || cr.holds.n > 1 || cr.slots > 0 && cr.holds.n > 0 {
		return
	}
	s.crowds.delete(cr.name)
	if last := cr.holds.first; last != nil {
		cr.leave(last)
		s.enter(last.claim, cr.name, last.client, last.request)
		last.client, last.request = "", ""
		s.shorten(last.claim)
	}
}

// each calls fn for every key, in any order, until it is false.
func (s *keys) each(fn func(key) bool) {
	going := true
	s.alone.each(func(slot *slot) bool {
		going = fn(key{of: s, alone: s.claims.at(slot.id)})
		return going
	})
	if !going {
		return
	}
	for _, cr := range s.crowds.m {
		if !fn(s.crowded(cr)) {
			return
		}
	}
}

// sorted calls fn for every key in the order of their names, so that one history
// always has one outcome, until it is false.
func (s *keys) sorted(fn func(key) bool) {
	// What is sorted has no pointers, and all names are close together.
	type name struct{ begin, end, key uint32 }
	var (
		all   = make([]key, 0, s.len())
		names = make([]name, 0, s.len())
		text  = make([]byte, 0, 16*s.len())
	)
	for k := range s.each {
		begin := len(text)
		text = append(text, k.name()...)
		names = append(names, name{uint32(begin), uint32(len(text)), uint32(len(all))})
		all = append(all, k)
	}
	slices.SortFunc(names, func(a, b name) int { return bytes.Compare(text[a.begin:a.end], text[b.begin:b.end]) })
	for _, n := range names {
		if !fn(all[n.key]) {
			return
		}
	}
}

// tidy gives memory back when most of it is of no use, and says whether it did.
// Claims have other numbers then; moved is told of each.
func (s *keys) tidy(moved func(from, to uint32)) bool {
	// A move costs as much as there are claims, whatever is sparse; so as much at least
	// must come back.
	worth := s.claims.used()
	byTexts := s.texts.sparse() && s.texts.room() >= worth*textWorth
	byMores := s.mores.sparse() && s.mores.records.room() >= worth
	if !s.claims.sparse() && !byTexts && !byMores {
		return false
	}
	was := *s
	s.claims, s.texts, s.mores = slab[claim]{}, texts{}, slab[*more]{}
	move := func(old *claim) uint32 {
		id := s.claims.take()
		c := s.claims.at(id)
		*c = *old
		c.id = id
		if old.text != 0 {
			c.text = s.texts.copy(&was.texts, old.text)
		}
		if old.more != 0 {
			c.more = s.mores.take()
			w := was.more(old)
			w.claim = c
			*s.mores.at(c.more) = w
		}
		moved(old.id, id)
		return id
	}
	s.alone.each(func(slot *slot) bool {
		slot.id = move(was.claims.at(slot.id))
		return true
	})
	for _, cr := range s.crowds.m {
		for _, l := range []*claims{&cr.holds, &cr.waiting} {
			for w := l.first; w != nil; w = l.after(w) {
				move(w.claim)
			}
		}
	}
	return true
}
