// Package model holds the exhaustive searches of the ownership protocol that
// docs/protocol.md refers to. `make model` runs them and prints, for every
// instance, how many states were explored and how long that took.
//
// The searches are in three packages:
//
//   - search explores the states of any finite system, breadth first, and
//     examines the strongly connected components of the result.
//   - views models views, leases, complaints, activation and copies: rules V3,
//     V5, V6, V6a, V7, A1, 4.1 to 4.5 and G1.
//   - seats models Raft's seats and the orderly stop: rules V1 and V7.
//
// A model says what the rules allow, in code that is written to be read beside
// docs/protocol.md. It shares no code with the implementation. The implementation's own
// tests, the simulation and the mutants show that it follows the rules. The models show
// that the rules together are right, for small meshes and few faults, but for every order
// of events.
//
// Every rule of a model can be switched off. The tests switch off one at a time and
// expect the search to find a violation, so that each rule is known to be needed,
// and the search is known to be able to find what it looks for. A violation is
// printed as a trace: the steps from a healthy mesh to the state that breaks the
// property.
//
// # What is not searched
//
// Real time: of L/5, 2L/5, 4L/5 and L only the order is modelled. Also not modelled are
// the rule for a data directory that is used twice (V3), the back-off of joins, the
// bounds of Q6, the sizes of what is relayed, founding (V0), Raft's snapshots, more than
// one Raft entry in flight, and seats and links in one model. Simulation and storms cover
// these (package cluster).
//
// A deaf member with R=1 is not an instance, because V6a accepts a loss there: a member that
// answers nothing may be the only witness of an epoch (4.2). Its removal then causes a
// quarantine of the partition, although another member has the last decision.
package model
