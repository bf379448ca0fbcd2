// Package locktest is a conformance suite for everything that is used as a client
// of ShareLock is: our client, a wrapper around it, a client in front of another
// protocol, or a replacement for tests.
//
//	func TestMine(t *testing.T) {
//		locktest.Run(t, func(t *testing.T, clientID string) locktest.Locker { return newMine(t, clientID) })
//	}
//
// The service behind it must allow TTLs of 300 ms and of 2 s, and its keys that
// begin with "locktest/" must be free.
package locktest
