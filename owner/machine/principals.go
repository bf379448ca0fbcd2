package machine

import (
	"fmt"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/release"
	"github.com/sgkandale/sharelock/owner/machine/principals"
)

// principalOf returns the principal of a claim, or "" if it has none.
func (s *keyTable) principalOf(c *claim) string {
	if !c.is(hasPrincipal) {
		return ""
	}
	return s.principals.Name(c.share)
}

// connOf returns the number to whose share the finished id of a claim counts (Q6).
func (s *keyTable) connOf(c *claim) uint32 {
	if !c.is(hasPrincipal) {
		return c.share
	}
	return s.principals.Conn(c.share)
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
	if c == nil && (principal != "" || k.of.principals.Len() > 0) {
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
	if conn, has := m.keys.principals.ConnOf(name); has {
		return conn
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
	m.keys.principals.Each(fn)
}

// countPrincipal counts the principal of a claim in another table, for comparison with what the keys
// have counted.
func (s *keyTable) countPrincipal(c *claim, in *principals.Table) {
	if c.is(hasPrincipal) {
		in.Enter(s.principalOf(c), s.connOf(c), c.held())
	}
}
