// Package ops has the operations of a partition's log and their encoding.
//
// What an owner decides about a partition is an [Op]: "this request gets this token", "this
// one queues", "this token is over". The owner numbers its ops, applies them to its own copy
// of the partition and sends them to the backups, which apply the same ops in the same order
// (A3). So every copy has the same state.
//
// The encoding of an op is a contract between releases: it only grows, and what a program does
// not know it tells from what is damaged ([ErrUnknown], W3). An encoded copy of a partition is
// made of the same parts, so [Encoder] and [Decoder] are exported for package machine.
//
// The package makes no compatibility promise except for the encodings.
package ops
