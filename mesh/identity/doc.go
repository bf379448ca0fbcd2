// Package identity keeps on disk who a process is: a data directory with its id, a counter
// of its starts, the cluster that it follows, and the folder of Raft's files.
//
// [Open] locks the directory, so that no other process works in it, checks that this program
// can read it, and raises the counter before it returns. So every start is an incarnation of
// its own (ring.Identity), which is never mistaken for an earlier one, and a process that was
// killed comes back as itself.
//
// Each fact is a record, a small text file with a checksum (record.go) that is replaced as a
// whole and synced. A damaged or missing record is an error and never replaced by a fresh one:
// a process that forgets what it promised lies to the other members. What a record looks like
// is fixed by testdata/records.golden.
//
// With an empty path everything is kept in memory; then every start is a new process.
package identity
