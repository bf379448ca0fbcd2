// Package gossip finds the other processes of a mesh. It is the only one that imports memberlist.
//
// Every process tells the others in a Meta message who it is and where it is reached, and learns
// the same of them; [Gossip.Processes] lists those that are believed to live. Gossip decides
// nothing: a process that it calls dead stays in the mesh as long as it renews its lease, and
// one that it shows is asked before anything depends on it.
//
// Seeds and the members of the last view are looked for again and again (gossip.go), since
// memberlist itself forgets whom it has declared dead. Processes of another mesh, or of another
// cluster of a mesh with the same name, are kept apart (table.go). Which of the seeds a process
// is, and whether all of them are there, the birth of a cluster depends on (seeds.go, V0).
package gossip
