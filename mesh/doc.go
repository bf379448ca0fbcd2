// Package mesh is a node of ShareLock: one of N equal processes that find each
// other, agree on who is in, and lead every request to the owner of its key.
//
// The parts, from the outside in:
//
//   - gossip.go finds processes. It decides nothing.
//   - agree.go is the Raft group that agrees on views; voters.go and seats.go keep its seats.
//   - leader.go, draft.go and rounds.go are what one of the voters does besides: leases, admissions,
//     removals (rules V3 to V5, V7); complaints.go evicts who cannot be reached (V6).
//   - member.go is the other side of that: it joins, keeps this node's lease and
//     leaves.
//   - views.go is the one way into a newer view, whoever brings it (A1).
//   - peers.go, link.go and serve.go carry calls between members.
//   - call.go, acquire.go and locker.go take a request at any node and bring the
//     owner's answer back, whatever moves meanwhile (Q1).
//   - node.go and lifecycle.go put it together and take it apart.
//
// The partitions themselves are the business of package owner, their placement
// that of package ring.
//
// Start a node with [New] and [Node.Start]; see testcluster for many in one
// process. The package makes no promise of compatibility between versions.
package mesh
