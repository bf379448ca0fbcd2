// Package peer implements the gRPC calls between the processes of a mesh, on the peer port.
//
// A [Client] makes the calls of a member that joins, renews and leaves (calls.go), of a leader that
// asks for terms and sends views (it implements view.Peers), and of an owner that takes over
// partitions (copies.go). A [Server] answers them: calls about the mesh in membership.go, calls
// about copies in partitions.go. Requests for locks go over links instead (package link).
//
// Every call names its cluster, its sender and the process that it is meant for (A1); any other
// process refuses it. A member that answers from an older epoch first gets the newer view. The
// calls of an activation to a leaving member go through the leader if the direct way is broken
// (detour.go, parcels.go, V6a). A process that wants to join is dialled back before its probe is
// answered ([DialBacks], V3).
package peer
