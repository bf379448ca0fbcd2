// Package ring determines the placement of partitions: the member that owns each partition, and
// the members that are its backups.
//
// All nodes have the same agreed [View], so each node can compute the same placement without
// communication. [Build] turns a view into an immutable [Ring]. It is a pure function without
// clock, log or I/O. Its only inputs are the view and the number of partitions. The result does
// not depend on the order of the members, or on their names, addresses and incarnations: a member
// is placed by its stable id. So a member that restarts gets the same partitions again, and only a
// join or a leave moves partitions.
//
// A key always belongs to the same partition: hash(key) mod P. The replica set of a partition is
// the owner followed by the backups:
//
//   - The owner is chosen by consistent hashing with bounded loads
//     (github.com/buraksezer/consistent; 100 points per member, and no member owns more than 1.25
//     times the average, rounded up).
//   - The first backup is the member that would own the partition without the owner, the second
//     backup the member that would own it without the owner and the first backup, and so on.
//
// This makes a failover cheap. When the owner dies, the next view lacks exactly that member, so the
// next ring names the first backup as the owner, and it already has the copy. The partitions of one
// member have different first backups, so its load spreads over all other members. (The library's
// own "closest members" are the owner's neighbours on a circle of members: all partitions of an
// owner would share one backup, and that is usually not the member that becomes the owner.) In
// meshes of more than 16 members only the first backup is chosen this way. The others are the next
// members on a circle of hashed ids, which bounds the cost of a build.
//
// The bounded load causes a few moves that a plain hash ring would not. When a member dies and the
// shares of the others grow, a few of their partitions may also move; the tests measure how many.
//
// All nodes must compute the same ring, also while two releases run side by side. So the hash, the
// encodings and the choice are frozen under a version number, [Placement], which every view
// carries. Build refuses a version that this release does not know, and golden files in testdata
// show every change of the rule as a diff.
//
// There is no compatibility promise for this package's Go API.
package ring
