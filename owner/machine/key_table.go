package machine

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
// index, all without pointers. What else there can be about a key is in its contended key.
//
// Make it with [newKeys].
type keyTable struct {
	seed maphash.Seed
	// alone finds the hold of each key that has one hold, no waiter and no slots.
	uncontended compact.HashTable[uint32]
	// contended keys are all other keys, by name.
	contended compact.HashTable[*contendedKey]
	// claims are all claims, texts the texts of those that are alone with their keys, and
	// mores what some claims have besides.
	claims compact.Slab[claim]
	texts  compact.Arena
	// unmoved: texts of the claims up to this number have not been moved yet; see tidy.
	unmoved int
	extras  compact.Slab[*claimExtra]
}

func newKeyTable() keyTable { return keyTable{seed: maphash.MakeSeed()} }

// len is the number of keys.
func (s *keyTable) len() int { return s.uncontended.Len() + s.contended.Len() }

// hash is the index's hash of a name.
func (s *keyTable) hash(name string) uint32 { return uint32(maphash.String(s.seed, name) >> 32) }

func (s *keyTable) hashBytes(name []byte) uint32 { return uint32(maphash.Bytes(s.seed, name) >> 32) }

// get is the key with this name.
func (s *keyTable) get(name string) keyEntry {
	k := keyEntry{of: s}
	if s.len() == 0 {
		return k
	}
	hash := s.hash(name)
	if s.contended.Len() > 0 {
		k.contended = s.contended.Find(hash, func(ck *contendedKey) bool { return ck.name == name })
	}
	if k.contended == nil && s.uncontended.Len() > 0 {
		id := s.uncontended.Find(hash, func(id uint32) bool {
			found, _, _ := s.texts.Bytes(s.claims.At(id).text)
			return string(found) == name
		})
		if id != 0 {
			k.sole = s.claims.At(id)
		}
	}
	return k
}

// of is the key of a claim.
func (s *keyTable) of(c *claim) keyEntry {
	if c.text == 0 {
		return s.contendedEntry(s.extra(c).contended)
	}
	return keyEntry{of: s, sole: c}
}

// ids are the ids of a claim, and the name of its key.
func (s *keyTable) ids(c *claim) (name, client, request string) {
	if c.text == 0 {
		w := s.extra(c)
		return w.contended.name, w.client, w.request
	}
	return s.texts.Strings(c.text)
}

// crowded is the key of a contended key, which may have ended.
func (s *keyTable) contendedEntry(ck *contendedKey) keyEntry { return keyEntry{of: s, contended: ck} }

// more is what a claim has besides, or nil.
func (s *keyTable) extra(c *claim) *claimExtra {
	if c.extra == 0 {
		return nil
	}
	return *s.extras.At(c.extra)
}

// meta is the metadata of a claim; nobody may change it.
func (s *keyTable) meta(c *claim) map[string]string {
	if c.extra == 0 {
		return nil
	}
	return s.extra(c).meta
}

// setMeta gives a claim other metadata.
func (s *keyTable) setMeta(c *claim, meta map[string]string) {
	if len(meta) > 0 {
		s.extend(c).meta = meta
	} else if w := s.extra(c); w != nil {
		w.meta = nil
		s.shorten(c)
	}
}

// maxHold is the longest that a claim may be held; 0 is no limit.
func (s *keyTable) maxHold(c *claim) time.Duration {
	if c.extra == 0 {
		return 0
	}
	return s.extra(c).maxHold
}

// isOf reports whether a claim is of this client.
func (s *keyTable) isOf(c *claim, client string) bool {
	if c.text == 0 {
		return s.extra(c).client == client
	}
	_, found, _ := s.texts.Bytes(c.text)
	return string(found) == client
}

// add makes the claim of a grant to one who has not waited, or of an enqueue. The
// op fits the key.
func (s *keyTable) add(k keyEntry, op *ops.Op) *claim {
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
	case k.contended == nil:
		k.contended = s.gather(k, op)
	}
	s.join(k.contended, c, op.ClientID, op.RequestID)
	return c
}

// gather makes a contended key of a key that has none.
func (s *keyTable) gather(k keyEntry, op *ops.Op) *contendedKey {
	ck := &contendedKey{name: op.Key, slots: op.Slots, seed: s.seed}
	s.contended.Put(s.hash(ck.name), ck)
	if c := k.sole; c != nil {
		_, client, request := s.texts.Strings(c.text)
		s.exit(c)
		s.join(ck, c, client, request)
	}
	return ck
}

// enter makes a claim alone with its key.
func (s *keyTable) enter(c *claim, name, client, request string) {
	c.text = s.texts.Put(name, client, request)
	s.uncontended.Put(s.hash(name), c.id)
}

// exit ends that a claim is alone with its key.
func (s *keyTable) exit(c *claim) {
	name, _, _ := s.texts.Bytes(c.text)
	s.uncontended.Remove(s.hashBytes(name), c.id)
	s.texts.Remove(c.text)
	c.text = 0
}

// extend gives a claim room for more.
func (s *keyTable) extend(c *claim) *claimExtra {
	if c.extra == 0 {
		c.extra = s.extras.Take()
		*s.extras.At(c.extra) = &claimExtra{claim: c}
	}
	return s.extra(c)
}

// shorten takes the room for more away, if there is no more.
func (s *keyTable) shorten(c *claim) {
	if w := s.extra(c); w != nil && w.contended == nil && w.meta == nil && w.maxHold == 0 {
		s.extras.Give(c.extra)
		c.extra = 0
	}
}

func (s *keyTable) join(ck *contendedKey, c *claim, client, request string) {
	w := s.extend(c)
	w.client, w.request = client, request
	ck.join(w)
}

// promote turns a waiter into the newest hold of its key.
func (s *keyTable) promote(w *claimExtra, token sharelock.Token) {
	ck := w.contended
	ck.promote(w, token)
	w.waiterState = waiterState{}
	s.settle(ck)
}

// remove ends a claim.
func (s *keyTable) remove(c *claim) {
	if c.text == 0 {
		w := s.extra(c)
		ck := w.contended
		ck.leave(w)
		s.settle(ck)
	} else {
		s.exit(c)
	}
	if c.extra != 0 {
		s.extras.Give(c.extra)
	}
	s.claims.Give(c.id)
}

// settle ends a contended key that is none any more. It has no claim then.
func (s *keyTable) settle(ck *contendedKey) {
	if ck.waiters.n > 0 || ck.holds.n > 1 || ck.slots > 0 && ck.holds.n > 0 {
		return
	}
	s.contended.Remove(s.hash(ck.name), ck)
	if ck.read != nil {
		ck.read.end()
	}
	if last := ck.holds.first; last != nil {
		ck.leave(last)
		s.enter(last.claim, ck.name, last.client, last.request)
		last.client, last.request = "", ""
		s.shorten(last.claim)
	}
}

// each calls fn for every key, in any order, until it is false.
func (s *keyTable) each(fn func(keyEntry) bool) {
	going := true
	s.uncontended.Each(func(id uint32) bool {
		going = fn(keyEntry{of: s, sole: s.claims.At(id)})
		return going
	})
	if going {
		s.contended.Each(func(ck *contendedKey) bool { return fn(s.contendedEntry(ck)) })
	}
}

// sorted calls fn for every key in the order of their names, so that one history
// always has one outcome, until it is false.
func (s *keyTable) sorted(fn func(keyEntry) bool) {
	// What is sorted has no pointers, and all names are close together.
	type name struct{ begin, end, key uint32 }
	var (
		all   = make([]keyEntry, 0, s.len())
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
func (s *keyTable) tidy(moved func(from, to uint32)) (touched, size int) {
	touched = s.extras.Pack(TidyEntries/4, func(_, to uint32) { (*s.extras.At(to)).claim.extra = to })
	touched += s.claims.Pack(TidyEntries/2, func(from, to uint32) {
		c := s.claims.At(to)
		c.id = to
		if c.extra != 0 {
			s.extra(c).claim = c
		}
		if c.text != 0 {
			name, _, _ := s.texts.Bytes(c.text)
			size += len(name)
			s.uncontended.Renumber(s.hashBytes(name), from, to)
		}
		moved(from, to)
	})
	s.unmoved = min(s.unmoved, s.claims.Last())
	if !s.moving() && s.textsSparse() {
		s.texts.BeginMove()
		s.unmoved = s.claims.Last()
	}
	for left := TidyEntries / 4; s.unmoved > 0 && left > 0 && size < tidyBytes; left-- {
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
func (s *keyTable) sparse() bool { return s.claims.Sparse() || s.extras.Sparse() || s.textsSparse() }

// textWorth is how many bytes are worth the move of a claim.
const textWorth = 16

// textsSparse: it pays to move the texts. The move costs as much as there are claims; so as
// much at least must come back.
func (s *keyTable) textsSparse() bool {
	return s.texts.Sparse(s.claims.Used() * textWorth)
}

// tidyMost and tidyBytes are the most entries and about the most bytes that one call of
// tidy touches.
const (
	TidyEntries = 100
	tidyBytes   = 8 << 10
)

// moving: texts are being moved.
func (s *keyTable) moving() bool { return s.unmoved > 0 }

// untidy: tidy has more to do.
func (s *keyTable) untidy() bool { return s.claims.Packing() || s.extras.Packing() || s.moving() }
