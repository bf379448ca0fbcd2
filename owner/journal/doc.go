// Package journal records what the copies of one member have applied, so that it can be told later who
// held a key, when, and why that ended.
//
// A shard writes with a [Pen]: the grants, queueing, and endings of its partitions in the order of
// their logs, and marks that say from where to where that is complete. A goroutine of the [Journal]
// writes them to the disk; no lock waits for it. If the disk is too slow or fails, records are lost,
// and the marks show it.
//
// Owners and backups record alike, so that the record survives the owner. [Journal.Search] finds what
// one member knows of a key. [Merge] makes the answer of what all members know: it drops what the
// owner of an earlier epoch has decided and no later one has taken over, and finds out whether
// anything may be missing.
package journal
