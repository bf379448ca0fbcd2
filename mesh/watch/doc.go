// Package watch lets callers at this node follow a key, or all keys with a prefix, whichever
// members own them.
//
// A [Hub] has a source for each member of the view that owns something that is watched here: the
// feed of the local owner, or a stream to another member. Each watch has a queue of its own, into
// which the sources put events. The watch asks the owners for the state of what it watches at the
// pace of its reader.
//
// Three rules keep the promises of a watch. A watch accepts events only of the epoch in which it is
// synced, and drops a key's events from before its snapshot, so that a key never goes back to an
// older state. After a change of the view, or when a source has broken or has left something out,
// the watch begins again, with moved or reset. A watch whose queue is full loses the whole queue
// and is reset when its reader has caught up, so that a slow reader costs other readers nothing.
//
// The package does not know how other members are reached; see [Config.Open].
package watch
