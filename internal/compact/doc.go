// Package compact has containers for up to a million small records: a queue, a hash
// table, a slab of records by number, an arena of texts and a heap of deadlines.
//
// They have three things in common that the standard containers lack:
//
//   - Records name each other by number, not by pointer, so the garbage collector has
//     nothing to follow in them.
//   - Memory is taken and given back a chunk at a time. What is left after most records
//     have gone moves together, a bounded part at each call (Slab.Pack, Arena.Move).
//   - No operation touches more than a bounded number of records, however many there are,
//     except Check, which is for tests, and Each.
//
// Empty containers are small, because every partition of a node has several of them. The
// zero value of each is empty. None is safe for concurrent use.
package compact
