// Package client takes locks from a ShareLock mesh.
//
// # The idea
//
// A lock is a promise with an end. [Client.Acquire] gives a [Lock] that the
// client keeps alive: when a third of its TTL is over, or half of a long one,
// the lock is renewed, with any node of the mesh that answers. Should none answer in time, the promise ends, and
// [Lock.Done] says so before anybody else can be granted the key: the client
// counts from the moment it sent the request that was answered, on a clock that
// also runs while the machine sleeps, whereas the owner of the key counts from
// the moment it handled that request, and a tenth longer (rule Q3).
//
//	c, err := client.Dial(ctx, []string{"10.0.0.1:50052", "10.0.0.2:50052"}, client.Options{})
//	...
//	err = c.Do(ctx, "orders/42", func(ctx context.Context, l *client.Lock) error {
//		return store.Save(ctx, order, l.Token()) // ctx ends if the lock is about to be lost
//	})
//
// What no lock service can do is stop a process that sleeps past the end and
// then writes. The fencing [Lock.Token] can, if the resource refuses a token
// smaller than one it has seen.
//
// # Sessions
//
// All calls to a node share one stream, and whatever waits goes out as one message; what keeps
// locks alive goes before everything else. Of acquires that do not wait in line at most 512 are
// under way at a node at once, further ones wait in the client.
// The client learns from the mesh which node owns which key and turns to that node
// itself; [Options].OnlyAddrs keeps it to the addresses it was given. A node without
// sessions is called call by call. The stream is no gRPC, if the node can do without and
// there are no DialOptions; see [Transport].
//
// A lock that is held for longer than a third of its TTL is attached to a session:
// from then on the node renews it, and one keepalive goes out for all locks of the
// session together. When the session breaks its locks are attached to another, at
// whatever node. Where that cannot be, and when a node has renewed a lock too long ago,
// the client renews it by itself.
//
// # Retries
//
// Every node takes every call, so a call that a node cannot serve goes to another. A
// retry can do no harm: an acquire carries a request id that is granted at most once
// (rule Q2), and renewals and releases name the token.
//
// By default a call is repeated for as long as [Options].Patience allows.
// [Options].Retry limits the attempts, sets the pauses between them, and bounds the
// call as a whole:
//
//	client.Options{Retry: client.Retry{Attempts: 6, LongestPause: 200 * time.Millisecond, Timeout: 3 * time.Second}}
//
// A held lock is kept alive at the client's own pace, whatever these say.
//
// # Giving up
//
// When the context of an Acquire or its [Retry].Timeout ends, or when its
// [Retry].Attempts are used up, the request may have left a place in the queue
// behind, or a grant whose answer is on its way; both would be kept for a retry. So
// the client fences the request id in the background, in one message: the key's owner
// removes its waiter or its hold and remembers the id as over, so that a copy of the acquire
// that is still in flight is refused. The client repeats the fence until the owner has
// answered, for at most 33 s; Timeout and Attempts do not limit that. [Client.Close] waits
// for it, within the bound that it documents.
//
// # TLS and tokens
//
// [Options].TLS makes all connections TLS. A node must prove to be the host of its address: one of
// those given to Dial, or one that a member announces. Options.Token returns the bearer token that
// calls carry. A token that was refused or has expired is replaced without losing a lock, and
// Options.LoadTLS does the same for certificates.
package client
