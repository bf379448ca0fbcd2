package machine

import (
	"fmt"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/owner/machine/finished"
	"github.com/sgkandale/sharelock/owner/machine/principals"
	"github.com/sgkandale/sharelock/owner/ops"
)

// Check returns an error for the first invariant that does not hold. It looks at the whole copy and
// changes nothing.
func (m *Machine) Check() error {
	waiters, used := 0, 0
	var owners principals.Table
	for k := range m.keys.each {
		if err := m.checkKey(k); err != nil {
			return fmt.Errorf("partition %d: %w", m.partition, err)
		}
		waiters += k.waiters()
		for c := range k.holds {
			used += m.keys.costOf(c)
			m.keys.countPrincipal(c, &owners)
		}
		for w := range k.queue {
			used += m.keys.costOf(w.claim)
			m.keys.countPrincipal(w.claim, &owners)
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
	if err := m.keys.principals.Check(&owners); err != nil {
		return fmt.Errorf("partition %d: %w", m.partition, err)
	}
	for _, check := range []func() error{m.keys.check, m.checkLine, m.checkDue, m.finished.Check, m.checkShares} {
		if err := check(); err != nil {
			return fmt.Errorf("partition %d: %w", m.partition, err)
		}
	}
	return nil
}

// checkLine checks the list of all waiters.
func (m *Machine) checkLine() error {
	n := 0
	for w := m.keys.earliest; w != nil; w = w.later {
		switch n++; {
		case w.claim.held():
			return fmt.Errorf("a hold is among all waiters")
		case n > m.waiters:
			return fmt.Errorf("more than %d are among all waiters", m.waiters)
		case w.later == nil && w != m.keys.latest || w.later != nil && w.later.earlier != w:
			return fmt.Errorf("the list of all waiters is broken at %q", w.request)
		}
	}
	if n != m.waiters {
		return fmt.Errorf("%d of %d are among all waiters", n, m.waiters)
	}
	return nil
}

// checkKey checks that the holds of a key may be held together, that every request id has one
// claim, and that tokens are in order.
func (m *Machine) checkKey(k keyEntry) error {
	if k.sole != nil && k.sole.text == 0 {
		return fmt.Errorf("claim %d is alone and has no text", k.sole.id)
	}
	name := string(k.name())
	if err := m.checkClaims(k, name); err != nil {
		return fmt.Errorf("key %q: %w", name, err)
	}
	return nil
}

// checkClaims is checkKey for a key whose name is known to be readable.
func (m *Machine) checkClaims(k keyEntry, name string) error {
	if m.keys.get(name) != k {
		return fmt.Errorf("it is not found by its name")
	}
	ids := make(map[waiterID]bool, k.held()+k.waiters())
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
	case k.contended != nil && m.active && k.contended.era == m.era && k.contended.listening != listening:
		return fmt.Errorf("%d waiters listen, counted were %d", listening, k.contended.listening)
	case k.contended != nil && m.active && m.isMarked(k.contended) != m.marks(k.contended):
		return fmt.Errorf("it is marked, and not among those that are, or the other way round")
	case held != k.held() || waiting != k.waiters():
		return fmt.Errorf("%d hold and %d wait, counted were %d and %d", held, waiting, k.held(), k.waiters())
	case held+waiting == 0:
		return fmt.Errorf("nobody holds it or waits for it")
	case k.slots() > 1 && held > int(k.slots()):
		return fmt.Errorf("%d hold %d slots", held, k.slots())
	case k.contended == nil:
		return nil
	}
	if err := m.checkServed(k); err != nil {
		return err
	}
	return k.contended.check(&m.keys)
}

func (m *Machine) checkClaim(k keyEntry, name string, c *claim, ids map[waiterID]bool) error {
	w := m.keys.extra(c)
	if k.contended != nil && (c.text != 0 || w == nil || w.contended != k.contended) {
		return fmt.Errorf("claim %d does not know its contended key", c.id)
	}
	key, client, request := m.keys.ids(c)
	due := m.due.Entry(c.id)
	principal := m.keys.principalOf(c)
	id := waiterID{principal, request}
	switch {
	case key != name:
		return fmt.Errorf("%q belongs to key %q", request, key)
	case ids[id]:
		return fmt.Errorf("request id %q of %q is there twice", request, principal)
	case m.keys.claims.At(c.id) != c:
		return fmt.Errorf("%q has the number of another claim", request)
	case k.contended == nil && !c.held():
		return fmt.Errorf("%q waits alone", request)
	case !ops.ValidClient(client) || !ops.ValidTTL(c.ttl()) || !ops.ValidFamily(c.mode(), k.slots()):
		return fmt.Errorf("%q has a bad client, TTL, mode or slots", request)
	case m.active && due == nil:
		return fmt.Errorf("%q has deadline %v", request, due)
	case m.finished.Has(name, principal, request):
		return fmt.Errorf("request id %q is over", request)
	}
	ids[id] = true
	if w != nil {
		return m.checkExtra(k, c, w, request)
	}
	return nil
}

// checkExtra checks that a claimExtra belongs to its claim and is needed.
func (m *Machine) checkExtra(k keyEntry, c *claim, w *claimExtra, request string) error {
	switch {
	case w.claim != c || w.contended != k.contended:
		return fmt.Errorf("%q belongs to another claim or contended key", request)
	case k.contended == nil && (w.meta == nil && w.maxHold == 0 || w.client+w.request != "" || w.next != nil || w.prev != nil):
		return fmt.Errorf("hold %q keeps what only a contended key needs", request)
	case k.contended != nil && (w.next.prev != w || w.prev.next != w):
		return fmt.Errorf("the list is broken at %q", request)
	case (c.held() || !m.active && m.unswept == 0) && w.waiterState != waiterState{}:
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

// checkServed checks that the first waiter does not wait for a key that it could have.
func (m *Machine) checkServed(k keyEntry) error {
	w := k.contended.waiters.first
	if w == nil || !m.active || m.quarantine != 0 || m.spent() || w.era != m.era || w.settles != 0 || m.unserved > 0 || m.isMarked(k.contended) {
		return nil
	}
	if w.ref.Alive() && k.admits(w.claim.mode()) {
		return fmt.Errorf("%q waits for a key that it could have", w.request)
	}
	return nil
}

// check checks that the key has to be a contended one, and that its index is complete.
func (ck *contendedKey) check(s *keyTable) error {
	switch {
	case ck.waiters.n == 0 && ck.holds.n == 1 && ck.slots == 0:
		return fmt.Errorf("a hold that is alone has a contended key")
	case !ck.indexed() && ck.size() > indexFrom:
		return fmt.Errorf("%d claims without an index", ck.size())
	case !ck.indexed():
		return nil
	case ck.ids.Len() != ck.size() || ck.tokens.Len() != ck.holds.n || ck.size() <= indexTo:
		return fmt.Errorf("the index has %d ids and %d tokens of %d claims", ck.ids.Len(), ck.tokens.Len(), ck.size())
	}
	for _, l := range []*claimList{&ck.holds, &ck.waiters} {
		for w := l.first; w != nil; w = l.after(w) {
			same := func(c *claim) bool { return s.principalOf(c) == s.principalOf(w.claim) }
			if w.contended != ck || ck.find(w.request, same) != w || w.claim.held() && ck.hold(w.claim.token) != w {
				return fmt.Errorf("the index is wrong about %q", w.request)
			}
		}
	}
	if err := ck.ids.Check(); err != nil {
		return err
	}
	return ck.tokens.Check()
}

// marks reports whether a key is in Machine.marked.
func (m *Machine) marks(ck *contendedKey) bool {
	for i := range m.marked.Len() {
		if *m.marked.At(i) == ck {
			return true
		}
	}
	return false
}

// check checks that everything that is stored belongs to a claim of a key.
func (s *keyTable) check() error {
	claims, mores, text := 0, 0, 0
	count := func(c *claim) {
		claims++
		if c.extra != 0 {
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
	case claims != s.claims.Used() || mores != s.extras.Used():
		return fmt.Errorf("%d claims and %d with more, stored are %d and %d", claims, mores, s.claims.Used(), s.extras.Used())
	case text != s.texts.Used():
		return fmt.Errorf("%d bytes of text, counted were %d", text, s.texts.Used())
	case !s.moving() && s.texts.Moving():
		return fmt.Errorf("some texts were not moved")
	}
	for _, check := range []func() error{s.claims.Check, s.extras.Check, s.texts.Check, s.uncontended.Check, s.contended.Check} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

// checkShares checks the number of finished ids of every connection.
func (m *Machine) checkShares() error {
	counted := 0
	for _, queue := range finished.Queues {
		for _, o := range m.finished.From(queue, 0) {
			if o.Conn != 0 {
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

// checkDue checks that the deadlines of an owner are those of all its claims. A machine that is not
// active has either these or none.
func (m *Machine) checkDue() error {
	if want := m.keys.claims.Used(); m.due.Len() != want && (m.active || m.due.Len() > 0) {
		return fmt.Errorf("%d deadlines, want %d", m.due.Len(), want)
	}
	return m.due.Check()
}
