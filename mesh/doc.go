// Package mesh is a node of ShareLock: one of N equal processes that find each
// other, agree on who is in, and lead every request to the owner of its key.
//
// The parts, from the outside in:
//
//   - package mesh/gossip finds processes. It decides nothing.
//   - package mesh/view agrees on the view and gives leases: the Raft group and
//     what its leader does besides (rules V1 to V7); leading.go runs it here.
//   - package mesh/member is the other side of that: it joins, keeps this node's lease and
//     leaves; complaints.go says of whom it complains (V6).
//   - package mesh/epoch is what this process acts in, and the one way into a newer view,
//     whoever brings it (A1).
//   - package mesh/link carries requests and operations between members, package mesh/peer their
//     other calls. Package mesh/peerport lets both and Raft's streams, those of package
//     mesh/raftstream, share one port.
//   - package mesh/identity keeps on disk who this process is.
//   - package mesh/route takes a request at any node and brings the owner's answer back,
//     whatever moves meanwhile (Q1); package mesh/keepalive renews the holds of sessions, and
//     package mesh/account bounds what a client's connection may keep.
//   - node.go and lifecycle.go put it together and take it apart.
//
// The partitions themselves are the business of package owner, their placement
// that of package ring.
//
// Start a node with [New] and [Node.Start]; see testcluster for many in one
// process. The package makes no promise of compatibility between versions.
package mesh
