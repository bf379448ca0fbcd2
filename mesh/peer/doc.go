// Package peer is what the processes of a mesh ask each other by calls: gRPC's, on the peer port.
//
// A [Client] makes the calls: of a member that joins, renews and leaves (calls.go), of a leader that
// asks for terms and brings views (it is its view.Peers), and of an owner that takes partitions over
// (copies.go). A [Server] answers them: those about the mesh in membership.go, those about copies in
// partitions.go. Requests for locks do not go this way, but over links (package link).
//
// Every call says which cluster and which process it comes from, and which it is meant for (A1);
// whoever is another one refuses it. A member that answers from an older epoch is brought up first.
// What an activation asks a leaving member goes by way of the leader if the direct way is broken
// (detour.go, parcels.go, V6a). A process that wants to join is dialled back before that is
// answered ([DialBacks], V3).
package peer
