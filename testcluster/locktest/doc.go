// Package locktest is a conformance suite for clients of ShareLock: the client of this module, a
// wrapper around it, a client of another protocol, or a replacement for tests.
//
//	func TestMine(t *testing.T) {
//		locktest.Run(t, func(t *testing.T, clientID string) locktest.Locker { return newMine(t, clientID) })
//	}
//
// The service behind the client must allow TTLs of 300 ms and of 2 s. The suite uses keys that begin
// with "locktest/"; nobody else may use them meanwhile.
package locktest
