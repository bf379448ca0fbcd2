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
// [Start] returns a mesh that is ready: every node acts in one view with all the
// others, holds its lease, and serves its share of the keys. Nodes can be crashed,
// stopped, restarted and added while it runs. They communicate over the sockets of this
// machine, or over a memory network whose links can be cut. On a memory network the mesh can
// run in virtual time, in a bubble of testing/synctest. Package internal/virtual starts
// bubbles with workarounds for the race detector.
//
// When the test ends, the cluster checks what happened. Every call of every client is
// recorded in a [History]. The test fails if two clients believed that they held a key at
// the same time, if a token did not grow, if a waiter was overtaken, if a node's own state
// is inconsistent, or if a goroutine of the cluster outlived it: see [Invariant]. A failed
// test prints the violations, the last log lines of all nodes in order of time, and each
// node's view of the mesh.
//
// Clusters share nothing: there are no fixed ports and no global state, and tests
// with clusters may run in parallel. The package does not import testing.
package cluster
