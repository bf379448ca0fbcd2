// Package faults is a rehearsal: real processes, one in each network namespace, and
// what can happen to them. Processes are killed and paused, links are cut, disks
// fill up, while clients take locks, hold them and wait for them through the Go
// client, with the default configuration and in real time. It is all tests; what
// they need of the system is made by scripts/faults (make faults), and without it
// they are skipped.
//
// # What is measured
//
// A fault has a window: from the moment it begins until the mesh is whole again and
// a little longer. In it, by the clocks of the clients,
//
//   - how long nothing was granted, of all keys together and of the key that had
//     to wait longest,
//   - locks lost: one that its client held and renewed, and was told that it has
//     not any more, or that the mesh did not know at the end,
//   - double grants: one that came while another client still relied on its own,
//   - waiters out of order: granted before one that was seen ahead in the queue,
//   - requests failed: an acquire, a release or a wait that ended in an error.
//
// And the order of all calls must be explained by one lock service (package
// linear), in which nothing was ever lost.
package faults
