// Package segment keeps blocks of bytes in a bounded directory: the oldest are removed first.
//
// A [Store] appends blocks to a file, and begins another when the file is full. Each block has a
// checksum, and a filter of the hashes that were given with it: it tells which hashes are certainly
// not in the block, so that a search for one reads few blocks. The filters are kept in memory, about
// 1 % of what is stored.
//
// Nothing is forced to the disk: what a process has written survives the end of the process, but not
// that of the machine. When the directory is opened again, the checksums show what a crash has cut
// off. Without a directory a Store keeps its blocks in memory.
package segment
