// Package views models views, leases, complaints, activation and copies of one
// partition: rules V3, V5, V6, V6a, V7, A1, 4.1 to 4.5 and G1 of docs/protocol.md.
//
// # What a state is
//
// A state has up to four processes, the calls between them that fail (a cut has a
// direction), the Raft leader and the voters, the view with its marks and its order,
// what each process has installed, the phase of the partition's activation, each process's
// copy, and what the leader knows: how long each member has been silent, who complains about
// whom, and which voters a silent member calls. What the leader knows is as old as the last
// renewal that reported it.
//
// Epochs are not numbered. A copy has the rank of its `have` among the living copies. For each
// gap between two ranks the state keeps the replica sets of the views in it; of these, only
// living processes and minimal sets matter to the walk of 4.2. So histories are unbounded but
// the number of states is finite.
//
// The replica set of a new view is any that the rules allow, so the ring is not modelled.
// Requests are not modelled either: the *last decision* is what the owner decided last, and all
// of the replica set that was last active have it. The model assumes that an owner decides all
// the time.
//
// Time is a rank, too: the silence of a member goes from "renews" over "missed two
// renewals" and "4L/5" to "L stretched", when its lease has ended. A member that can renew may
// do so at any time, or late; one that cannot becomes more silent in separate steps. A time that
// is unrelated to leases (the 1 s of a complaint, the 2 L of a deaf member) is a step that may be
// taken once its condition holds.
//
// # Properties
//
//   - SAFETY: no activation chooses a copy while the owner that was last active can
//     still commit, and no copy is considered good that lacks the last decision.
//   - DURABILITY: no quarantine while a living process, in the view or not, has the last
//     decision, unless it was deaf or paused, stopped renewing or asked to leave. One
//     exception is accepted: a quarantine after the crash of the whole replica set of an
//     epoch that never became active, because then no process knows.
//   - LIVENESS: in every bottom component with a leader that hears a majority of the
//     voters, the partition is served again and again.
//   - FLAPPING: in no such component does the view or the leadership change for ever.
//   - TORN: in no such component is there, for ever, a pair of members that cannot call each
//     other.
package views
