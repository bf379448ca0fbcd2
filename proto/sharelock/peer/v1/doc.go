// Package peerv1 contains the messages between members of a mesh, generated from peer.proto. It is
// not for clients. Only neighbouring releases are compatible with each other.
package peerv1
