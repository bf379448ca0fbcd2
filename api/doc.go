// Package api puts a lock service on the wire: gRPC, HTTP with JSON, and the
// two doors of the first ShareLock, all in front of one [Node].
//
// It is translation and nothing else. A request arrives as a message of
// sharelock.v1 (over HTTP: path, query and JSON body make one), the service
// types turn it into a call of the Node, and the one table in package
// sharelockv1 turns errors into statuses. Whether a key is free, who owns it and
// which limits hold is the Node's business; what only the wire can know is
// checked here: whether a duration was given at all, whether a token fits, how
// large a body may be.
//
//	gRPC    interceptors  ─┐
//	                       ├─ locks, meshes, legacy ── Node
//	HTTP    router, JSON  ─┘
//
// [NewGRPC] and [NewHTTP] build the two servers; whoever builds them brings the
// listeners and stops them. Both hold against clients that are malformed, slow,
// or gone: requests are bounded in size and in the time they take to arrive, a
// caller that leaves ends its context, and a panic is one INTERNAL answer.
//
// The package makes no promise of compatibility to importers; the wire does.
package api
