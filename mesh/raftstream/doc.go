// Package raftstream carries Raft between the voters, over streams that say whom they are for.
//
// Raft knows processes by their ids alone (docs/adr/0007-raft-knows-processes-by-id.md). A [Layer]
// finds out where a process is reached now, and begins each stream with a preamble that names the
// cluster and the voter; [Accept] refuses, on the other side, a stream for another one. So no
// process votes in the place of another that had its address before.
package raftstream
