package owner

import (
	"fmt"
	"time"

	"github.com/sgkandale/sharelock"
)

// Check gives the first invariant that does not hold, or nil. It walks the whole
// copy and changes nothing.
func (m *Machine) Check() error {
	waiters, used := 0, 0
	for k := range m.keys.each {
		if err := m.checkKey(k); err != nil {
			return fmt.Errorf("partition %d: %w", m.partition, err)
		}
		waiters += k.waiters()
		for c := range k.holds {
			used += m.keys.costOf(c)
		}
		for w := range k.queue {
			used += m.keys.costOf(w.claim)
		}
	}
	switch {
	case waiters != m.waiters:
		return fmt.Errorf("partition %d: %d wait, counted were %d", m.partition, waiters, m.waiters)
	case m.used.bytes != used:
		return fmt.Errorf("partition %d: claims take %d bytes, counted were %d", m.partition, used, m.used.bytes)
	case !m.busy && m.anyLeft():
		return fmt.Errorf("partition %d: there is work left that is not known", m.partition)
	case !m.active && m.marked.len() > 0:
		return fmt.Errorf("partition %d: a turn has not ended", m.partition)
	}
	for _, check := range []func() error{m.keys.check, m.checkDue, m.finished.check, m.checkShares} {
		if err := check(); err != nil {
			return fmt.Errorf("partition %d: %w", m.partition, err)
		}
	}
	return nil
}

// checkKey: nobody holds a key together with somebody it may not, every request
// id has one claim, and tokens are in order.
func (m *Machine) checkKey(k key) error {
	if k.alone != nil && k.alone.text == 0 {
		return fmt.Errorf("claim %d is alone and has no text", k.alone.id)
	}
	name := string(k.name())
	if err := m.checkClaims(k, name); err != nil {
		return fmt.Errorf("key %q: %w", name, err)
	}
	return nil
}

// checkClaims is checkKey for a key whose name can be told.
func (m *Machine) checkClaims(k key, name string) error {
	if m.keys.get(name) != k {
		return fmt.Errorf("it is not found by its name")
	}
	ids := make(map[string]bool, k.held()+k.waiters())
	var before sharelock.Token
	held, waiting := 0, 0
	for c := range k.holds {
		held++
		switch {
		case c.token <= before || c.token > m.last:
			return fmt.Errorf("token %d follows %d", c.token, before)
		case k.slots() == 0 && !c.is(isShared) && k.held() > 1:
			return fmt.Errorf("an exclusive hold is not alone")
		}
		before = c.token
		if err := m.checkClaim(k, name, c, ids); err != nil {
			return err
		}
	}
	for w := range k.queue {
		waiting++
		if w.claim.token != 0 {
			return fmt.Errorf("%q waits with a token", w.request)
		}
		if err := m.checkClaim(k, name, w.claim, ids); err != nil {
			return err
		}
	}
	listening := 0
	for w := range k.queue {
		if w.era != m.era || w.listens() {
			listening++
		}
	}
	switch {
	case k.crowd != nil && m.active && k.crowd.era == m.era && k.crowd.listening != listening:
		return fmt.Errorf("%d waiters listen, counted were %d", listening, k.crowd.listening)
	case k.crowd != nil && m.active && m.isMarked(k.crowd) != m.marks(k.crowd):
		return fmt.Errorf("it is marked, and not among those that are, or the other way round")
	case held != k.held() || waiting != k.waiters():
		return fmt.Errorf("%d hold and %d wait, counted were %d and %d", held, waiting, k.held(), k.waiters())
	case held+waiting == 0:
		return fmt.Errorf("nobody holds it or waits for it")
	case k.slots() > 1 && held > int(k.slots()):
		return fmt.Errorf("%d hold %d slots", held, k.slots())
	case k.crowd == nil:
		return nil
	}
	if err := m.checkServed(k); err != nil {
		return err
	}
	return k.crowd.check()
}

func (m *Machine) checkClaim(k key, name string, c *claim, ids map[string]bool) error {
	w := m.keys.more(c)
	if k.crowd != nil && (c.text != 0 || w == nil || w.crowd != k.crowd) {
		return fmt.Errorf("claim %d does not know its crowd", c.id)
	}
	key, client, request := m.keys.ids(c)
	due := m.due.entry(c.id)
	switch {
	case key != name:
		return fmt.Errorf("%q belongs to key %q", request, key)
	case ids[request]:
		return fmt.Errorf("request id %q is there twice", request)
	case m.keys.claims.at(c.id) != c:
		return fmt.Errorf("%q has the number of another claim", request)
	case k.crowd == nil && !c.held():
		return fmt.Errorf("%q waits alone", request)
	case !validClient(client) || !validTTL(c.ttl()) || !validFamily(c.mode(), k.slots()):
		return fmt.Errorf("%q has a bad client, TTL, mode or slots", request)
	case m.active && due == nil:
		return fmt.Errorf("%q has deadline %v", request, due)
	case m.finished.has(name, request):
		return fmt.Errorf("request id %q is over", request)
	}
	ids[request] = true
	if w != nil {
		return m.checkMore(k, c, w, request)
	}
	return nil
}

// checkMore: what a claim has besides belongs to it, and is needed.
func (m *Machine) checkMore(k key, c *claim, w *more, request string) error {
	switch {
	case w.claim != c || w.crowd != k.crowd:
		return fmt.Errorf("%q belongs to another claim or crowd", request)
	case k.crowd == nil && (w.meta == nil && w.maxHold == 0 || w.client+w.request != "" || w.next != nil || w.prev != nil):
		return fmt.Errorf("hold %q keeps what only a crowd needs", request)
	case k.crowd != nil && (w.next.prev != w || w.prev.next != w):
		return fmt.Errorf("the list is broken at %q", request)
	case (c.held() || !m.active && m.unswept == 0) && w.waiting != waiting{}:
		return fmt.Errorf("%q keeps what only a waiter needs", request)
	case w.ends != 0 && (!c.held() || w.maxHold == 0):
		return fmt.Errorf("%q with the longest time %v ends at %v", request, w.maxHold, w.ends)
	case c.held() && m.active && w.maxHold > 0 && m.dueTime(c) > w.ends:
		return fmt.Errorf("%q is due at %v, later than its longest time allows, %v", request, m.dueTime(c), w.ends)
	case !c.held() && m.active && w.era != m.era:
		return nil // nobody has looked at it since the activation
	case w.settles != 0 && w.ref.Caller != nil:
		return fmt.Errorf("%q settles and is attached", request)
	case !c.held() && m.active && m.due.entry(c.id).due != w.due():
		return fmt.Errorf("%q is due at %v, not at %v", request, w.due(), m.due.entry(c.id).due)
	}
	return nil
}

// checkServed: the head of a queue that could have the key has it.
func (m *Machine) checkServed(k key) error {
	w := k.crowd.waiting.first
	if w == nil || !m.active || m.quarantine != 0 || m.spent() || w.era != m.era || w.settles != 0 || m.unserved > 0 || m.isMarked(k.crowd) {
		return nil
	}
	if w.ref.Alive() && k.admits(w.claim.mode()) {
		return fmt.Errorf("%q waits for a key that it could have", w.request)
	}
	return nil
}

// check: there is a crowd when there is need of one, and its index is whole.
func (cr *crowd) check() error {
	switch {
	case cr.waiting.n == 0 && cr.holds.n == 1 && cr.slots == 0:
		return fmt.Errorf("a hold that is alone has a crowd")
	case !cr.indexed() && cr.size() > indexFrom:
		return fmt.Errorf("%d claims without an index", cr.size())
	case !cr.indexed():
		return nil
	case cr.ids.len() != cr.size() || cr.tokens.len() != cr.holds.n || cr.size() <= indexTo:
		return fmt.Errorf("the index has %d ids and %d tokens of %d claims", cr.ids.len(), cr.tokens.len(), cr.size())
	}
	for _, l := range []*claims{&cr.holds, &cr.waiting} {
		for w := l.first; w != nil; w = l.after(w) {
			if w.crowd != cr || cr.find(w.request) != w || w.claim.held() && cr.hold(w.claim.token) != w {
				return fmt.Errorf("the index is wrong about %q", w.request)
			}
		}
	}
	if err := cr.ids.check(); err != nil {
		return err
	}
	return cr.tokens.check()
}

// marks reports whether a crowd is among those that are marked.
func (m *Machine) marks(cr *crowd) bool {
	for i := range m.marked.len() {
		if *m.marked.at(i) == cr {
			return true
		}
	}
	return false
}

// check: what is stored belongs to the claims of the keys, and to nothing else.
func (s *keys) check() error {
	claims, mores, text := 0, 0, 0
	count := func(c *claim) {
		claims++
		if c.more != 0 {
			mores++
		}
		if c.text != 0 {
			key, client, request := s.texts.lengths(c.text)
			text += textUnitsOf(key+client+request) * textUnit
		}
	}
	for k := range s.each {
		for c := range k.holds {
			count(c)
		}
		for w := range k.queue {
			count(w.claim)
		}
	}
	switch {
	case claims != s.claims.used() || mores != s.mores.used():
		return fmt.Errorf("%d claims and %d with more, stored are %d and %d", claims, mores, s.claims.used(), s.mores.used())
	case text != s.texts.used():
		return fmt.Errorf("%d bytes of text, counted were %d", text, s.texts.used())
	case !s.moving() && s.texts.old != nil:
		return fmt.Errorf("%d bytes of text were not moved", s.texts.old.used)
	}
	for _, check := range []func() error{s.claims.check, s.mores.check, s.texts.check, s.alone.check, s.crowds.check} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

// check: the free records were counted.
func (s *slab[T]) check() error {
	free := 0
	for i := range s.records.len() {
		if s.free.has(i) {
			free++
		}
	}
	if free != s.free.n {
		return fmt.Errorf("%d records of %d are free, counted were %d", free, s.records.len(), s.free.n)
	}
	return nil
}

// check: every block is in use, or free, or was never handed out.
func (t *texts) check() error {
	free := 0
	for units, id := range t.free {
		for ; id != 0; id = t.nextFree(id) {
			if free += units * textUnit; free > t.room() {
				return fmt.Errorf("the free blocks of %d bytes go in a circle", units*textUnit)
			}
		}
	}
	if t.used+free+t.left() != t.room() {
		return fmt.Errorf("%d bytes in use, %d free and %d left are not %d", t.used, free, t.left(), t.room())
	}
	return nil
}

// check: both halves are right.
func (s *textStore) check() error {
	if s.old != nil {
		if err := s.old.check(); err != nil {
			return err
		}
	}
	return s.texts.check()
}

// check: every record is in the one table of its hash.
func (t *hashTable[V]) check() error {
	if err := t.one.check(); err != nil {
		return err
	}
	var none V
	if t.many == nil {
		return nil
	}
	n, tables := t.one.n, t.many.tables
	for i, s := range tables {
		if s.bits > t.many.bits || s != tables[i&(1<<s.bits-1)] {
			return fmt.Errorf("the table at place %d of %d is not the one of its bits", i, len(tables))
		}
		if i >= 1<<s.bits {
			continue
		}
		n += s.n
		for _, slot := range s.slots {
			if slot.id != none && int(slot.hash)&(1<<s.bits-1) != i {
				return fmt.Errorf("record %v is in the table at place %d", slot.id, i)
			}
		}
		if err := s.hashIndex.check(); err != nil {
			return err
		}
	}
	if n != t.len() {
		return fmt.Errorf("there are %d records in %d tables, counted were %d", n, len(tables), t.len())
	}
	return nil
}

// check: every record is on the way from the home of its hash.
func (x *hashIndex[V]) check() error {
	var none V
	n := 0
	for i, s := range x.slots {
		if s.id == none {
			continue
		}
		n++
		for j := x.home(s.hash); j != i; j = x.next(j) {
			if x.slots[j].id == none {
				return fmt.Errorf("record %v in slot %d is not found from its home", s.id, i)
			}
		}
	}
	if n != x.n || n > 0 && n == len(x.slots) {
		return fmt.Errorf("%d records in %d slots of an index, counted were %d", n, len(x.slots), x.n)
	}
	return nil
}

// checkShares: the finished ids of every connection were counted.
func (m *Machine) checkShares() error {
	counted := 0
	for i := range m.finished.queues {
		q := &m.finished.queues[i]
		for j := range q.n {
			if q.at(q.number(j)).conn != 0 {
				counted++
			}
		}
	}
	for conn, n := range m.used.shares {
		if counted -= int(n); n <= 0 {
			return fmt.Errorf("connection %d has a share of %d", conn, n)
		}
	}
	if counted != 0 {
		return fmt.Errorf("%d finished request ids are in no share", counted)
	}
	return nil
}

// checkDue: the deadlines are a heap of all claims of an owner, or of one that was
// until nobody else has decided since, and no entry is
// later than its claim is due.
func (m *Machine) checkDue() error {
	if want := m.keys.claims.used(); m.due.len() != want && (m.active || m.due.len() > 0) {
		return fmt.Errorf("%d deadlines, want %d", m.due.len(), want)
	}
	return m.due.check()
}

func (h *deadlines) check() error {
	for i := range h.len() {
		e := h.heap.at(i)
		switch {
		case h.entry(e.id) != e:
			return fmt.Errorf("deadline %d of claim %d is not in its place", i, e.id)
		case i > 0 && h.heap.at((i-1)/arity).at > e.at:
			return fmt.Errorf("deadline %d is before its parent", i)
		case e.at > e.due:
			return fmt.Errorf("deadline %d is late for claim %d", i, e.id)
		}
	}
	return nil
}

// check: the queues and the index of finished ids are the same, oldest first.
func (f *finished) check() error {
	n := 0
	for qi := range f.queues {
		q := &f.queues[qi]
		var before time.Duration
		for i := range q.n {
			id := q.number(i)
			o := q.at(id)
			if *o == (over{}) {
				continue
			}
			n++
			switch {
			case f.find(&o.digest) != id|uint32(qi)*queueBit:
				return fmt.Errorf("finished request id %x is not found", o.digest)
			case o.until < before:
				return fmt.Errorf("finished request ids are out of order at %x", o.digest)
			}
			before = o.until
		}
		if q.n > 0 && q.due != q.at(q.first).until {
			return fmt.Errorf("the next finished request id is forgotten at %v, noted is %v", q.at(q.first).until, q.due)
		}
		if q.n == 0 && len(q.chunks) > 0 {
			return fmt.Errorf("an empty queue of finished request ids keeps room")
		}
	}
	if next := f.soonest(); next != f.next {
		return fmt.Errorf("the next finished request id is forgotten at %v, noted is %v", next, f.next)
	}
	if n != f.ids.len() {
		return fmt.Errorf("%d finished request ids, counted were %d", n, f.ids.len())
	}
	if err := f.ids.check(); err != nil {
		return fmt.Errorf("finished request ids: %w", err)
	}
	return nil
}
