// Package sharelock holds the words of ShareLock, a lock service made of equal
// peers: keys, tokens, holds, waiters, the requests that clients make and the
// errors they get.
//
// Everything else speaks these words and imports this package; it imports
// nothing but the standard library, does no I/O and starts no goroutine.
//
// A lock is taken with an acquire and comes back as a [Hold]. The hold names a
// fencing [Token] that grows with every later grant of the same key, so that
// the resource behind the lock can refuse a client that has overslept its TTL.
package sharelock
