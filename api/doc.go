// Package api serves a lock service over gRPC, HTTP with JSON, and the original API (gRPC and
// HTTP), all in front of one [Node].
//
// It only translates. A request arrives as a message of sharelock.v1 (over HTTP, it is made of the
// path, the query and the JSON body). The service types turn it into a call of the Node, and the
// table in package sharelockv1 turns errors into statuses. The Node decides whether a key is free,
// which member owns it and which limits apply. This package checks what depends on the wire:
// whether a duration was given at all, whether a token fits, how large a body may be.
//
//	gRPC    interceptors  ─┐
//	                       ├─ gate ── locks, meshes, legacy ── Node
//	HTTP    router, JSON  ─┘
//
// Packages of their own have what needs no Node: gate decides who may make a call, httpjson is the
// JSON of the HTTP API, remote tells where a call comes from, halfclosed finds callers that have
// closed only half of their connection, and refuse answers clients at the wrong port.
//
// [NewGRPC] and [NewHTTP] build the two servers. The caller provides the listeners and stops the
// servers. Both tolerate clients that send malformed data, are slow, or disconnect: the size of a
// request and the time for its arrival are bounded, the context of a call ends when its caller
// disconnects, and a panic becomes an INTERNAL answer.
//
// There is no compatibility promise for this package's Go API; there is one for the wire formats.
package api
