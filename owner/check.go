package owner

import (
	"fmt"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/owner/ops"
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
	case !m.active && m.marked.Len() > 0:
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
	due := m.due.Entry(c.id)
	switch {
	case key != name:
		return fmt.Errorf("%q belongs to key %q", request, key)
	case ids[request]:
		return fmt.Errorf("request id %q is there twice", request)
	case m.keys.claims.At(c.id) != c:
		return fmt.Errorf("%q has the number of another claim", request)
	case k.crowd == nil && !c.held():
		return fmt.Errorf("%q waits alone", request)
	case !ops.ValidClient(client) || !ops.ValidTTL(c.ttl()) || !ops.ValidFamily(c.mode(), k.slots()):
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
	case !c.held() && m.active && m.due.Entry(c.id).Due != w.due():
		return fmt.Errorf("%q is due at %v, not at %v", request, w.due(), m.due.Entry(c.id).Due)
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
	case cr.ids.Len() != cr.size() || cr.tokens.Len() != cr.holds.n || cr.size() <= indexTo:
		return fmt.Errorf("the index has %d ids and %d tokens of %d claims", cr.ids.Len(), cr.tokens.Len(), cr.size())
	}
	for _, l := range []*claims{&cr.holds, &cr.waiting} {
		for w := l.first; w != nil; w = l.after(w) {
			if w.crowd != cr || cr.find(w.request) != w || w.claim.held() && cr.hold(w.claim.token) != w {
				return fmt.Errorf("the index is wrong about %q", w.request)
			}
		}
	}
	if err := cr.ids.Check(); err != nil {
		return err
	}
	return cr.tokens.Check()
}

// marks reports whether a crowd is among those that are marked.
func (m *Machine) marks(cr *crowd) bool {
	for i := range m.marked.Len() {
		if *m.marked.At(i) == cr {
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
			text += s.texts.Size(c.text)
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
	case claims != s.claims.Used() || mores != s.mores.Used():
		return fmt.Errorf("%d claims and %d with more, stored are %d and %d", claims, mores, s.claims.Used(), s.mores.Used())
	case text != s.texts.Used():
		return fmt.Errorf("%d bytes of text, counted were %d", text, s.texts.Used())
	case !s.moving() && s.texts.Moving():
		return fmt.Errorf("some texts were not moved")
	}
	for _, check := range []func() error{s.claims.Check, s.mores.Check, s.texts.Check, s.alone.Check, s.crowds.Check} {
		if err := check(); err != nil {
			return err
		}
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
	if want := m.keys.claims.Used(); m.due.Len() != want && (m.active || m.due.Len() > 0) {
		return fmt.Errorf("%d deadlines, want %d", m.due.Len(), want)
	}
	return m.due.Check()
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
	if n != f.ids.Len() {
		return fmt.Errorf("%d finished request ids, counted were %d", n, f.ids.Len())
	}
	if err := f.ids.Check(); err != nil {
		return fmt.Errorf("finished request ids: %w", err)
	}
	return nil
}
