// Package ring decides where partitions live: which member owns each of them
// and which members keep its backups.
//
// The idea: every node has the same agreed [View], so every node can compute
// the same answer without asking anybody. [Build] turns a view into an
// immutable [Ring], and it is a pure function: no clock, no log, no I/O, and
// nothing but the view and the number of partitions goes in. Even the order of
// the members does not matter, nor do their names, addresses and incarnations;
// a member is placed by its stable id. So a member that restarts comes back to
// the partitions it had, and only a join or a leave moves anything.
//
// A key belongs to a partition for ever: hash(key) mod P. The replica set of a
// partition is the owner followed by the backups:
//
//   - the owner is the one that consistent hashing with bounded loads names
//     (github.com/buraksezer/consistent; 100 points per member, and no member
//     owns more than 1.25 times the average, rounded up),
//   - the first backup is who would own the partition if the owner were not
//     there, the second who would own it without both, and so on.
//
// That is what makes fail-over cheap. When the owner dies the next view lacks
// just that member, so the ring of the next view names the first backup, which
// has the copy already; and since the partitions of one member have different
// next owners, its load spreads over all that are left. (The library's own
// "closest members" go by the owner's neighbours on a circle of members: all
// partitions of an owner share one backup, and that is mostly not the member
// that comes to own them.) In meshes of more than 16 members only the first
// backup is chosen so; the others are the members next to it on a circle of
// hashed ids, which bounds the cost of a build.
//
// The bounded load makes a few moves that a plain hash ring would not. When a
// member dies and the shares of the others grow, a few of their partitions may
// move too; the tests measure how many.
//
// Everybody must compute the same ring, also while two releases run side by
// side. So hash, encodings and choice are frozen under a number, [Placement],
// which every view carries; a ring for a number that this release does not know
// is refused, and golden files in testdata show every change of the rule as a
// diff.
//
// There is no compatibility promise for this package's Go API.
package ring
