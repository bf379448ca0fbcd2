package client

import "google.golang.org/grpc"

// DialFake gives the examples the options that lead to a mesh of one fake node,
// and a function that stops it.
func DialFake(addr string) (opts []grpc.DialOption, stop func()) {
	m, opts, stop := newMesh(addr)
	m.set(func() { m.sessions = true })
	return opts, stop
}
