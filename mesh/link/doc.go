// Package link carries frames between two members: the requests that one forwards to the other
// as their owner, the operations of the partitions that the other backs up, and what comes back.
//
// A link has two ends. The asking end is a [Link], one for each other member, kept in [Links]. It
// opens one stream to the member (A4), writes whatever waits as one frame, and opens the stream
// again when it breaks. The owner's end serves a stream that came in ([Links.Serve]): it hands
// requests to the service of the installed view and operations to its copies, and writes the
// answers and acknowledgements that wait as one frame. So at any load there is one write for many
// requests, and a request that comes alone waits for nobody.
//
// What a link promises is little, and the protocol is built on it. Nobody knows what became of a
// request whose stream broke, so all of them are answered Retry (Q1). A request of another epoch
// is not handled (A1). A frame that does not fit is not sent: its request alone fails. The owner's
// end queues a bounded number of bytes; beyond it requests are answered Retry. Both ends ping, and
// take a stream for dead on which nothing is heard for [silence] leases.
//
//   - links.go, link.go and stream.go are the asking end,
//   - serve.go and ownerend.go the owner's, with its bound in queue.go,
//   - frames.go is a stream of frames, hello.go what it begins with,
//   - request.go, response.go, lock.go and errors.go are the frames' content, byte for byte.
package link
