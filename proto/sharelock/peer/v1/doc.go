// Package peerv1 is what members of a mesh say to each other, generated from
// peer.proto. It is not for clients; only neighbouring releases promise to
// understand each other.
package peerv1
