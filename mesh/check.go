package mesh

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
