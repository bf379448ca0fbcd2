package mesh

// principalLimits returns what says how many holds and waiters a principal may have in the whole mesh
// (Q8), by the auth file of this node, which owns the keys; nil if nobody has limits.
func (n *Node) principalLimits() func(principal string) (maxHolds, maxWaiters int) {
	switch {
	case n.hooks.PrincipalLimits != nil:
		return n.hooks.PrincipalLimits
	case n.auth == nil:
		return nil
	}
	return func(principal string) (maxHolds, maxWaiters int) {
		l := n.auth.Limits(principal)
		return l.MaxHolds, l.MaxWaiters
	}
}
