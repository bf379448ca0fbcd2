package machine

import (
	"fmt"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/compact"
	"github.com/sgkandale/sharelock/internal/release"
)

// principals are the principals that have claims in a copy. Many claims belong to few principals, so
// a claim has the number of its principal, in the place of the connection to whose share it would
// count without one. A claim without a principal takes nothing here. The zero value is empty.
type principals struct {
	// numbers finds the number of a principal by its name. It is nil if there is none.
	numbers map[string]uint32
	list    compact.Slab[principal]
}

// A principal is one principal that has claims.
type principal struct {
	name string
	// conn is the number to whose share the finished ids of the principal count (Q6).
	conn uint32
	// holds and waiters are the numbers of its claims.
	holds, waiters int32
}

// enter counts a new claim of a principal and returns the principal's number. conn is the number for
// its share if it has no claim yet.
func (p *principals) enter(name string, conn uint32, held bool) uint32 {
	n, known := p.numbers[name]
	if !known {
		if p.numbers == nil {
			p.numbers = map[string]uint32{}
		}
		n = p.list.Take()
		*p.list.At(n) = principal{name: name, conn: conn}
		p.numbers[name] = n
	}
	if of := p.list.At(n); held {
		of.holds++
	} else {
		of.waiters++
	}
	return n
}

// granted counts a waiter of a principal as a hold.
func (p *principals) granted(n uint32) {
	of := p.list.At(n)
	of.waiters--
	of.holds++
}

// leave takes a claim off the count of its principal, and forgets the principal with its last claim.
func (p *principals) leave(n uint32, held bool) {
	of := p.list.At(n)
	if held {
		of.holds--
	} else {
		of.waiters--
	}
	if of.holds > 0 || of.waiters > 0 {
		return
	}
	delete(p.numbers, of.name)
	p.list.Give(n)
	if len(p.numbers) == 0 {
		*p = principals{} // a map never gives memory back
	}
}

// principalOf returns the principal of a claim, or "" if it has none.
func (s *keyTable) principalOf(c *claim) string {
	if !c.is(hasPrincipal) {
		return ""
	}
	return s.principals.list.At(c.share).name
}

// connOf returns the number to whose share the finished id of a claim counts (Q6).
func (s *keyTable) connOf(c *claim) uint32 {
	if !c.is(hasPrincipal) {
		return c.share
	}
	return s.principals.list.At(c.share).conn
}

// belongs reports whether a principal may renew and end a claim. A claim without a principal, from
// before callers were authenticated, belongs to everybody whom the node that took the request lets
// in. A request without a principal comes from a node that does not authenticate.
func (s *keyTable) belongs(c *claim, principal string) bool {
	return principal == "" || !c.is(hasPrincipal) || s.principalOf(c) == principal
}

// findFor returns the claim that a request id of a principal means, or nil: the principal's own, or
// else one without a principal. Without a principal it may be anybody's. So a request that is sent
// again finds its claim while nodes begin, or cease, to authenticate their callers.
func (k keyEntry) findFor(principal, request string) *claim {
	c := k.find(principal, request)
	if c == nil && (principal != "" || len(k.of.principals.numbers) > 0) {
		c = k.findWhere(request, func(c *claim) bool { return k.of.belongs(c, principal) })
	}
	return c
}

// known returns the name of a principal, or "" in a view whose release has no principals (W1).
func (m *Machine) known(principal string) string {
	if m.release < release.Principals {
		return ""
	}
	return principal
}

// principalOf returns the principal of a request.
func (m *Machine) principalOf(r *Request) string { return m.known(r.Principal) }

// connOf returns the number to whose share a request counts (Q6): that of its principal, or else of
// its connection.
func (m *Machine) connOf(r *Request) uint32 {
	name := m.principalOf(r)
	if name == "" {
		return r.Conn
	}
	if n, has := m.keys.principals.numbers[name]; has {
		return m.keys.principals.list.At(n).conn
	}
	// The seed keeps a client from choosing a name with the number of another.
	return max(m.keys.hash(name), 1)
}

// isOver reports whether a request id of a principal is over, or was over before callers were
// authenticated. The other way round, an id of a principal that is over is not known for a request
// without one: what is remembered of it does not say whose else it might be. Such a request is a late
// duplicate that has come by a node without authentication, beside one with it. It may be granted
// once more, which costs the key its TTL at most, and never makes two holders.
func (m *Machine) isOver(key, principal, request string) bool {
	return m.finished.Has(key, principal, request) || principal != "" && m.finished.Has(key, "", request)
}

// mayEnd reports whether a request may renew or end a hold.
func (m *Machine) mayEnd(r *Request, c *claim) bool {
	return r.AnyHold || m.keys.belongs(c, m.principalOf(r))
}

// denial returns the error for a request about a hold of another principal.
func (m *Machine) denial(r *Request, c *claim) error {
	return &sharelock.Error{
		Err: sharelock.ErrPermissionDenied,
		Message: fmt.Sprintf("key %q is held by principal %q, not by %q; only that principal, or one with the verb force, may renew or release the hold",
			r.Key, m.keys.principalOf(c), r.Principal),
	}
}

// Principals calls fn for each principal that has claims in the copy, with the numbers of its holds
// and waiters, in any order.
func (m *Machine) Principals(fn func(name string, holds, waiters int)) {
	for name, n := range m.keys.principals.numbers {
		of := m.keys.principals.list.At(n)
		fn(name, int(of.holds), int(of.waiters))
	}
}

// count counts a claim of a table, for comparison with what the table has counted.
func (p *principals) count(s *keyTable, c *claim) {
	if c.is(hasPrincipal) {
		p.enter(s.principalOf(c), s.connOf(c), c.held())
	}
}

// check returns an error unless the principals are these.
func (p *principals) check(want *principals) error {
	if len(p.numbers) != len(want.numbers) || p.list.Used() != len(p.numbers) {
		return fmt.Errorf("%d principals of %d have claims", len(want.numbers), p.list.Used())
	}
	for name, n := range p.numbers {
		if want.numbers[name] == 0 {
			return fmt.Errorf("principal %q has no claim", name)
		}
		if is, should := p.list.At(n), want.list.At(want.numbers[name]); *is != *should {
			return fmt.Errorf("principal %q counts as %+v, want %+v", name, *is, *should)
		}
	}
	return nil
}
