// Package raftstore keeps Raft's log, term and vote in one file, by bbolt.
//
// A write that returned has been synced (protocol, assumptions): a voter that forgot its vote or
// a committed view would let epochs go back. A disk that is full fails each write, and
// [Store.Failed] says so; the term is the exception, see [Store.SetUint64]. Why this is not the
// store of Raft's authors is in docs/adr/0002-own-raft-store.md.
//
// The form of an entry is a format of the disk (W1): it has the number of the release that
// introduced it, and testdata has its bytes.
package raftstore
