package machine

import (
	"bytes"
	"hash/maphash"
	"slices"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/compact"
	"github.com/sgkandale/sharelock/owner/machine/principals"
	"github.com/sgkandale/sharelock/owner/ops"
)

// A keyTable has all keys that are held or waited for. Nearly all of them have one holder and no
// waiter. Such a hold is a record, a text and an entry in a hash table, all without pointers.
// Everything else about a key is in its contendedKey.
//
// Create one with newKeyTable.
type keyTable struct {
	seed maphash.Seed
	// uncontended finds the hold of each key that has one hold, no waiter and no slots.
	uncontended compact.HashTable[uint32]
	// contended finds all other keys by name.
	contended compact.HashTable[*contendedKey]
	// claims has all claims, texts the keys and ids of those of uncontended keys, and extras what
	// only some claims have.
	claims compact.Slab[claim]
	texts  compact.Arena
	// unmoved is, while texts are being moved, the number of the claim whose text is moved next;
	// see tidy. It counts down to 0.
	unmoved int
	extras  compact.Slab[*claimExtra]
	// principals has the principals that have claims.
	principals principals.Table
	// earliest and latest are the first and the last of all waiters, in the order in which they came.
	earliest, latest *claimExtra
}

func newKeyTable() keyTable { return keyTable{seed: maphash.MakeSeed()} }

// len returns the number of keys.
func (s *keyTable) len() int { return s.uncontended.Len() + s.contended.Len() }

// hash returns the hash of a name.
func (s *keyTable) hash(name string) uint32 { return uint32(maphash.String(s.seed, name) >> 32) }

func (s *keyTable) hashBytes(name []byte) uint32 { return uint32(maphash.Bytes(s.seed, name) >> 32) }

// get returns the key with this name.
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

// of returns the key of a claim.
func (s *keyTable) of(c *claim) keyEntry {
	if c.text == 0 {
		return s.contendedEntry(s.extra(c).contended)
	}
	return keyEntry{of: s, sole: c}
}

// ids returns the name of the key of a claim, and the claim's ids.
func (s *keyTable) ids(c *claim) (name, client, request string) {
	if c.text == 0 {
		w := s.extra(c)
		return w.contended.name, w.client, w.request
	}
	return s.texts.Strings(c.text)
}

// contendedEntry returns the entry of a contended key, which may have ended.
func (s *keyTable) contendedEntry(ck *contendedKey) keyEntry { return keyEntry{of: s, contended: ck} }

// extra returns the claimExtra of a claim, or nil.
func (s *keyTable) extra(c *claim) *claimExtra {
	if c.extra == 0 {
		return nil
	}
	return *s.extras.At(c.extra)
}

// meta returns the metadata of a claim. It must not be changed.
func (s *keyTable) meta(c *claim) map[string]string {
	if c.extra == 0 {
		return nil
	}
	return s.extra(c).meta
}

// setMeta replaces the metadata of a claim.
func (s *keyTable) setMeta(c *claim, meta map[string]string) {
	if len(meta) > 0 {
		s.extend(c).meta = meta
	} else if w := s.extra(c); w != nil {
		w.meta = nil
		s.shorten(c)
	}
}

// maxHold returns the longest that a claim may be held; 0 is no limit.
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

// add creates the claim of an enqueue, or of a grant to a request that has not waited. The op must
// fit the key.
func (s *keyTable) add(k keyEntry, op *ops.Op) *claim {
	id := s.claims.Take()
	c := s.claims.At(id)
	*c = claim{id: id, token: op.Token, share: op.Conn}
	c.setTTL(op.TTL)
	c.set(isShared, op.Mode == sharelock.Shared)
	c.set(isOwnID, op.OwnID)
	c.set(isResent, op.Resent)
	if op.Principal != "" {
		c.set(hasPrincipal, true)
		c.share = s.principals.Enter(op.Principal, op.Conn, c.held())
	}
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

// gather makes a key contended that is not.
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

// enter adds a claim as the only one of an uncontended key.
func (s *keyTable) enter(c *claim, name, client, request string) {
	c.text = s.texts.Put(name, client, request)
	s.uncontended.Put(s.hash(name), c.id)
}

// exit removes the claim of an uncontended key from the tables; it stays in claims.
func (s *keyTable) exit(c *claim) {
	name, _, _ := s.texts.Bytes(c.text)
	s.uncontended.Remove(s.hashBytes(name), c.id)
	s.texts.Remove(c.text)
	c.text = 0
}

// extend returns the claimExtra of a claim, which it creates if there is none.
func (s *keyTable) extend(c *claim) *claimExtra {
	if c.extra == 0 {
		c.extra = s.extras.Take()
		*s.extras.At(c.extra) = &claimExtra{claim: c}
	}
	return s.extra(c)
}

// shorten removes the claimExtra of a claim if it is not needed.
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
	if !c.held() {
		s.enqueue(w)
	}
}

// enqueue adds a waiter behind all others.
func (s *keyTable) enqueue(w *claimExtra) {
	if w.earlier = s.latest; w.earlier == nil {
		s.earliest = w
	} else {
		w.earlier.later = w
	}
	s.latest = w
}

// dequeue removes a waiter from the list of all waiters.
func (s *keyTable) dequeue(w *claimExtra) {
	if w.earlier == nil {
		s.earliest = w.later
	} else {
		w.earlier.later = w.later
	}
	if w.later == nil {
		s.latest = w.earlier
	} else {
		w.later.earlier = w.earlier
	}
	w.earlier, w.later = nil, nil
}

// promote makes a waiter the newest hold of its key.
func (s *keyTable) promote(w *claimExtra, token sharelock.Token) {
	ck := w.contended
	if w.claim.is(hasPrincipal) {
		s.principals.Granted(w.claim.share)
	}
	s.dequeue(w)
	ck.promote(w, token)
	w.waiterState = waiterState{}
	s.settle(ck)
}

// remove ends a claim.
func (s *keyTable) remove(c *claim) {
	if c.is(hasPrincipal) {
		s.principals.Leave(c.share, c.held())
	}
	if c.text == 0 {
		w := s.extra(c)
		ck := w.contended
		if !c.held() {
			s.dequeue(w)
		}
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

// settle ends a contended key that need not be one any more. Afterwards it has no claim.
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

// each calls fn for every key, in any order, until fn returns false.
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

// sorted calls fn for every key in the order of their names until fn returns false.
func (s *keyTable) sorted(fn func(keyEntry) bool) {
	// The elements have no pointers and the names are close together, so sorting is fast.
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

// tidy goes on to free memory when most of it is unused. It touches a part of the records and
// returns how many entries and bytes. Claims may move to lower numbers; moved is called for each.
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

// sparse reports whether tidy has something to begin.
func (s *keyTable) sparse() bool { return s.claims.Sparse() || s.extras.Sparse() || s.textsSparse() }

// textWorth is how many bytes must be gained for each claim whose text may have to be moved.
const textWorth = 16

// textsSparse reports whether it pays to move the texts. A move looks at every claim, so the memory
// that it may free must be in proportion to their number.
func (s *keyTable) textsSparse() bool {
	return s.texts.Sparse(s.claims.Used() * textWorth)
}

// TidyEntries is the largest number of entries that one call of Tidy touches, tidyBytes about the
// largest number of bytes.
const (
	TidyEntries = 100
	tidyBytes   = 8 << 10
)

// moving reports whether texts are being moved.
func (s *keyTable) moving() bool { return s.unmoved > 0 }

// untidy reports whether tidy has begun something and has more to do.
func (s *keyTable) untidy() bool { return s.claims.Packing() || s.extras.Packing() || s.moving() }
