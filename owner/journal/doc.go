// Package journal records what the copies of one member have applied, so that one can find out
// later who held a key, when, and how each hold ended.
//
// A shard writes with a [Pen]: the grants, enqueues and ends of its partitions in the order of
// their logs, and marks that say for which parts of the logs the records are complete. A goroutine
// of the [Journal] writes them to the disk; no request waits for that. If the disk is too slow or
// fails, records are lost, and the marks show it.
//
// Owners and backups record the same, so that the record survives the owner. [Journal.Search] finds
// what one member has recorded about a key. [Merge] combines what all members have recorded into
// the answer: it drops decisions of an earlier epoch that later epochs have not taken over, and
// finds out whether anything may be missing.
package journal
