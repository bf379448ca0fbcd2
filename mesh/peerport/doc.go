// Package peerport lets several protocols share one port.
//
// A [Port] takes over a listener, looks at the first bytes of each stream, and hands it to the
// listener of the [Protocol] that they name; every other stream is taken for HTTP/2, which is gRPC's
// ([Port.Rest]). What a stream of a protocol says besides, and whether it may come in, is the
// protocol's business.
//
// Strangers reach this port, too. A stream is looked at in a goroutine of its own, for
// [HelloTimeout] at most, and there are a fixed number of them, so that one that is slow or says
// nothing keeps nobody waiting.
package peerport
