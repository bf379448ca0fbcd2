// Package testcluster runs a whole ShareLock mesh inside a test, so that a program that uses locks
// can be tested against real nodes, including nodes that crash, networks that split and locks that
// are lost.
//
//	func TestMine(t *testing.T) {
//		c := testcluster.Start(t, testcluster.Options{Nodes: 3})
//		lock, err := c.Client(0).Acquire(t.Context(), "report")
//		if err != nil {
//			t.Fatal(err)
//		}
//		ctx, cancel := lock.Context(t.Context())
//		defer cancel()
//		c.Kill(c.Owner("report")) // The lock survives this.
//		...
//	}
//
// [Start] returns a mesh that is ready to serve: every node holds its lease in one view with all
// the others, and every key has an owner. Nodes are known by their numbers, from 0, which they keep
// when they are killed and restarted.
//
// The nodes listen on loopback ports that the system chooses. With [Memory] they talk over a
// network in memory instead. Only that network can be split, cut and slowed down, and only such a
// cluster can run inside a bubble of testing/synctest, where hours of TTLs pass in milliseconds.
// Under the race detector, run such a bubble on one processor (go test -race -cpu 1): with Go 1.26
// the detector may crash when several threads run the timers of one bubble.
//
// Every call of the clients that the cluster made ([Cluster.Client] and [Cluster.Dial]) is recorded
// in its [History]. When the test ends, the cluster is closed and the history is checked: the test
// fails if two clients held a key at once, if a token did not grow, if a waiter was overtaken, if
// the state of a node is not consistent, or if a goroutine of the cluster is left. See [Invariant].
// The report of a failed test has the calls that contradict each other, each node's view of the
// mesh and the last log lines of all nodes, merged by time.
//
// Clusters share nothing. They use no fixed ports and no global state, so tests may run in
// parallel. The package does not import testing.
//
// What this package exports follows semantic versioning, except for package mesh, which
// [Options].Configure and [Cluster.Node] give access to: it makes no promise of compatibility.
package testcluster
