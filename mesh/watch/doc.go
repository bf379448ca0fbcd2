// Package watch lets callers at this node follow a key, or all keys with a prefix, whoever owns
// them.
//
// A [Hub] has a source for each member of the view that owns something that is watched here: the
// feed of the local owner, or a stream to another member. Whoever watches has a queue of his own,
// into which the sources put the events; he reads the state of what he watches from the owners at
// his own pace.
//
// What a watch promises is kept by three rules. Events are taken only of the epoch in which the
// watch is synced, and a key's events before its snapshot are dropped, so that a key never goes
// back. After a change of the view, when a source has broken or has left something out, the watch
// begins afresh, with moved or reset. A watch whose queue is full loses all of it and is reset when
// its reader has caught up, so that a slow reader costs nobody else anything.
//
// The package does not know how other members are reached; see [Config.Open].
package watch
