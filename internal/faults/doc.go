// Package faults rehearses faults with real processes, one in each network namespace.
// Processes are killed and paused, links are cut and disks fill up, while clients acquire
// locks, hold them and wait for them through the Go client, with the default configuration
// and in real time. The package has only tests. scripts/faults (make faults) prepares the
// system for them; without it they are skipped.
//
// # What is measured
//
// A fault has a window: from the moment it begins until shortly after the mesh is whole
// again. For the window, by the clocks of the clients, the tests measure
//
//   - how long nothing was granted, for all keys together and for the key that had
//     to wait longest,
//   - lost locks: a client held and renewed the lock, and was told that it is gone, or
//     the mesh did not know the lock at the end,
//   - double grants: grants that came while another client still relied on its own,
//   - waiters out of order: granted before one that was seen ahead in the queue,
//   - failed requests: an acquire, a release or a wait that ended in an error.
//
// Also, one lock service in which nothing was ever lost must explain the order of all calls
// (package linear).
package faults
