// Package halfclosed finds out whether a caller over HTTP/1 whose connection appears closed has
// closed only its half of it and still reads. Simple clients do so: they send a request, close for
// writing, and wait for the answer. net/http then cancels the context of the request, as if the
// caller had gone; and a lock that is granted to a caller that has gone is lost to all others for
// its TTL.
//
// [Probe] tells the two apart by the acknowledgement of the first bytes of the answer. The request
// is then made again with [UnlessItWaits]: it may be granted at once, but it must not queue for a
// caller that nobody could tell later to have gone.
package halfclosed
