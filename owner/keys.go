package owner

import (
	"bytes"
	"hash/maphash"
	"slices"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/compact"
	"github.com/sgkandale/sharelock/owner/ops"
)

// keys are the keys that are held or waited for. Nearly all of them have one
// holder and nobody who waits: such a hold is a record, a text and an entry of an
// index, all without pointers. What else there can be about a key is in its crowd.
//
// Make it with [newKeys].
type keys struct {
	seed maphash.Seed
	// alone finds the hold of each key that has one hold, no waiter and no slots.
	alone compact.HashTable[uint32]
	// crowds are all other keys, by name.
	crowds compact.HashTable[*crowd]
	// claims are all claims, texts the texts of those that are alone with their keys, and
	// mores what some claims have besides.
	claims compact.Slab[claim]
	texts  compact.Arena
	// unmoved: texts of the claims up to this number have not been moved yet; see tidy.
	unmoved int
	mores   compact.Slab[*more]
}

func newKeys() keys { return keys{seed: maphash.MakeSeed()} }

// len is the number of keys.
func (s *keys) len() int { return s.alone.Len() + s.crowds.Len() }

// hash is the index's hash of a name.
func (s *keys) hash(name string) uint32 { return uint32(maphash.String(s.seed, name) >> 32) }

func (s *keys) hashBytes(name []byte) uint32 { return uint32(maphash.Bytes(s.seed, name) >> 32) }

// get is the key with this name.
func (s *keys) get(name string) key {
	k := key{of: s}
	if s.len() == 0 {
		return k
	}
	hash := s.hash(name)
	if s.crowds.Len() > 0 {
		k.crowd = s.crowds.Find(hash, func(cr *crowd) bool { return cr.name == name })
	}
	if k.crowd == nil && s.alone.Len() > 0 {
		id := s.alone.Find(hash, func(id uint32) bool {
			found, _, _ := s.texts.Bytes(s.claims.At(id).text)
			return string(found) == name
		})
		if id != 0 {
			k.alone = s.claims.At(id)
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
	return s.texts.Strings(c.text)
}

// crowded is the key of a crowd, which may have ended.
func (s *keys) crowded(cr *crowd) key { return key{of: s, crowd: cr} }

// more is what a claim has besides, or nil.
func (s *keys) more(c *claim) *more {
	if c.more == 0 {
		return nil
	}
	return *s.mores.At(c.more)
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
	_, found, _ := s.texts.Bytes(c.text)
	return string(found) == client
}

// add makes the claim of a grant to one who has not waited, or of an enqueue. The
// op fits the key.
func (s *keys) add(k key, op *ops.Op) *claim {
	id := s.claims.Take()
	c := s.claims.At(id)
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
func (s *keys) gather(k key, op *ops.Op) *crowd {
	cr := &crowd{name: op.Key, slots: op.Slots, seed: s.seed}
	s.crowds.Put(s.hash(cr.name), cr)
	if c := k.alone; c != nil {
		_, client, request := s.texts.Strings(c.text)
		s.exit(c)
		s.join(cr, c, client, request)
	}
	return cr
}

// enter makes a claim alone with its key.
func (s *keys) enter(c *claim, name, client, request string) {
	c.text = s.texts.Put(name, client, request)
	s.alone.Put(s.hash(name), c.id)
}

// exit ends that a claim is alone with its key.
func (s *keys) exit(c *claim) {
	name, _, _ := s.texts.Bytes(c.text)
	s.alone.Remove(s.hashBytes(name), c.id)
	s.texts.Remove(c.text)
	c.text = 0
}

// extend gives a claim room for more.
func (s *keys) extend(c *claim) *more {
	if c.more == 0 {
		c.more = s.mores.Take()
		*s.mores.At(c.more) = &more{claim: c}
	}
	return s.more(c)
}

// shorten takes the room for more away, if there is no more.
func (s *keys) shorten(c *claim) {
	if w := s.more(c); w != nil && w.crowd == nil && w.meta == nil && w.maxHold == 0 {
		s.mores.Give(c.more)
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
		s.mores.Give(c.more)
	}
	s.claims.Give(c.id)
}

// settle ends a crowd that is none any more. It has no claim then.
func (s *keys) settle(cr *crowd) {
	if cr.waiting.n > 0 || cr.holds.n > 1 || cr.slots > 0 && cr.holds.n > 0 {
		return
	}
	s.crowds.Remove(s.hash(cr.name), cr)
	if cr.read != nil {
		cr.read.end()
	}
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
	s.alone.Each(func(id uint32) bool {
		going = fn(key{of: s, alone: s.claims.At(id)})
		return going
	})
	if going {
		s.crowds.Each(func(cr *crowd) bool { return fn(s.crowded(cr)) })
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

// tidy goes on to give memory back of which most is of no use. It touches a part of what
// there is, and returns how many entries and bytes those were. Claims that have other
// numbers then are lower in memory than before; moved is told of each.
func (s *keys) tidy(moved func(from, to uint32)) (touched, size int) {
	touched = s.mores.Pack(tidyMost/4, func(_, to uint32) { (*s.mores.At(to)).claim.more = to })
	touched += s.claims.Pack(tidyMost/2, func(from, to uint32) {
		c := s.claims.At(to)
		c.id = to
		if c.more != 0 {
			s.more(c).claim = c
		}
		if c.text != 0 {
			name, _, _ := s.texts.Bytes(c.text)
			size += len(name)
			s.alone.Renumber(s.hashBytes(name), from, to)
		}
		moved(from, to)
	})
	s.unmoved = min(s.unmoved, s.claims.Last())
	if !s.moving() && s.textsSparse() {
		s.texts.BeginMove()
		s.unmoved = s.claims.Last()
	}
	for left := tidyMost / 4; s.unmoved > 0 && left > 0 && size < tidyBytes; left-- {
		touched++
		if c := s.claims.At(uint32(s.unmoved)); c.text != 0 {
			var n int
			c.text, n = s.texts.Move(c.text)
			size += n
		}
		s.unmoved--
	}
	if s.unmoved == 0 {
		s.texts.EndMove()
	}
	return touched, size
}

// sparse: tidy has something to begin.
func (s *keys) sparse() bool { return s.claims.Sparse() || s.mores.Sparse() || s.textsSparse() }

// textWorth is how many bytes are worth the move of a claim.
const textWorth = 16

// textsSparse: it pays to move the texts. The move costs as much as there are claims; so as
// much at least must come back.
func (s *keys) textsSparse() bool {
	return s.texts.Sparse(s.claims.Used() * textWorth)
}

// tidyMost and tidyBytes are the most entries and about the most bytes that one call of
// tidy touches.
const (
	tidyMost  = 100
	tidyBytes = 8 << 10
)

// moving: texts are being moved.
func (s *keys) moving() bool { return s.unmoved > 0 }

// untidy: tidy has more to do.
func (s *keys) untidy() bool { return s.claims.Packing() || s.mores.Packing() || s.moving() }
