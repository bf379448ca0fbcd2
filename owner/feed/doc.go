// Package feed has what a member tells of the keys that it owns, on its way to the nodes that want to
// know: the feeds, what they watch, and the events that wait for each node.
//
// Every node that watches something here has a [Feed]; the [Set] of a member has them all. A shard's
// turn tells events with [Set.Tell], which does not wait: it looks up each event's key, and leaves the
// prefixes to [Feed.Take], which runs in a goroutine of the node. What waits for a node is bounded; if
// it is too much, all of it is left out, and the node is told so. A [Tail] keeps the last events of a
// partition, by which a watch is resumed.
//
// The present state of keys is read by a [Reader], and its parts wait in the same queue, so that what
// is told of a key after its snapshot is newer. Reads of prefixes take turns, see [Turn].
package feed
