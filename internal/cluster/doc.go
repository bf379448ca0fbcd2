// Package cluster runs a whole mesh inside one program, for the tests of ShareLock itself. Users
// import package testcluster, which is a small part of this one.
//
//	func TestMine(t *testing.T) {
//		c := cluster.Start(t, cluster.Options{Nodes: 3})
//		l, err := c.Client(0).Acquire(t.Context(), "k", client.TTL(time.Second))
//		...
//		c.Kill(c.Owner("k")) // and see what happens
//	}
//
// [Start] gives a mesh that is ready: every node acts in one view with all the
// others, holds its lease, and serves its share of the keys. Nodes are crashed,
// stopped, restarted and added while it runs. They talk over the sockets of this
// machine, or over a memory network whose links can be cut; on that one, with
// virtual time, inside a bubble of testing/synctest. Package internal/virtual makes
// bubbles that the race detector can bear.
//
// When the test ends the cluster looks back. Every call of every client was
// written down in a [History], and whatever the test was about, it fails if two
// clients believed to hold a key at once, if a token did not grow, if a waiter was
// overtaken, if a node's own state is not consistent, or if a goroutine of the
// cluster outlived it: see [Invariant]. A test that fails prints which, the last
// log lines of all nodes in one order of time, and each node's view of the mesh.
//
// Clusters share nothing: there are no fixed ports and no global state, and tests
// with clusters may run in parallel. The package does not import testing.
package cluster
