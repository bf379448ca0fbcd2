// Package feed passes the events of the keys that a member owns to the nodes that watch them. It
// holds the feeds, what they watch, and the events that wait for each node.
//
// Every node that watches something here has a [Feed]; the [Set] of a member holds all feeds. A
// shard passes events on with [Set.Tell], which does not wait: it looks up each event's key, and
// leaves the prefixes to [Feed.Take], which runs in a goroutine of the feed. What waits for a node
// is bounded; if it exceeds the bound, all of it is dropped, and the node learns of that. A [Tail]
// keeps the last events of a partition, from which a watch can be resumed.
//
// A [Reader] reads the current state of keys. The parts of its result wait in the same queue as
// events, so that an event of a key after its snapshot is newer than the snapshot. Reads of
// prefixes take turns, see [Turn].
package feed
