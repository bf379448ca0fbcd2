package mesh

import (
	"github.com/sgkandale/sharelock"
)

// Check gives the first invariant that some copy on this node violates, or nil;
// also before the node's first view. It stops every partition for a moment, so it
// is for tests and for people who doubt.
func (n *Node) Check() error {
	a := n.views.Now()
	if a == nil {
		return nil
	}
	return a.Service.Check()
}

// Expire ends a hold now, as the end of its TTL would. This node must be the key's owner. It is for
// tests of programs that use locks: see testcluster.
func (n *Node) Expire(key string, token sharelock.Token) error {
	a := n.views.Now()
	if a == nil {
		return n.Ready()
	}
	return a.Service.Expire(a.Partition(key), key, token)
}
