// Package sharelock defines the vocabulary of ShareLock, a lock service made of equal peers:
// tokens, holds, waiters, the requests of clients, and errors.
//
// All other packages import this package. It imports only the standard library, does no I/O and
// starts no goroutine.
//
// An acquire returns a [Hold], one client's grant of a key. A hold has a fencing [Token], which is
// larger at every later grant of the same key. So the resource that the lock protects can reject
// a client that was paused past its TTL.
package sharelock
