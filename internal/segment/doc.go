// Package segment keeps blocks of bytes in a bounded directory: the oldest are removed first.
//
// A [Store] appends blocks to a file, and begins another when that is full. Each block has a
// checksum and a filter that says which of the hashes that were given with it are not in it, so that
// a search for one of them reads few blocks. The filters are kept in memory, about 1 % of what is
// stored.
//
// Nothing is forced to the disk: what a process has written survives its end, but not that of the
// machine. What a crash has cut off is found by the checksums when the directory is opened again.
// Without a directory a Store keeps its blocks in memory.
package segment
