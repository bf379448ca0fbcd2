// Package seats models Raft's seats and the orderly stop: rules V1 and V7 of docs/protocol.md.
//
// # What a state is
//
// A process is up or not, told to stop or not, and has a Raft log. The model keeps only the last
// entry of a log: the seats and the view that result from it. Entries are ordered by term and
// index. The model keeps only their rank among the last entries of processes, so histories are
// unbounded but the number of states is finite. One entry is in flight at a time. A process votes
// for a candidate whose log is not older than its own. A candidate has a seat in its own newest
// entry and needs a majority of the seats there. An entry counts when a majority of its own seats
// has it. A new leader begins with an entry that changes nothing.
//
// The leader marks, removes and admits members, answers those that wait to stop, and moves
// seats. All that it may do next are steps of the model, in any order. What the data of
// partitions requires of a member that leaves (G1) happens at once.
//
// # Properties
//
//   - TWO: no process is elected whose log lacks the last entry that counts.
//   - MAJORITY: if a majority of the seats stays up for ever, a leader is elected.
//   - RETURN: the same for a majority of the seats that existed before any process stopped.
//   - CHOICE: no process stops in good order and leaves less than a majority, if a live process
//     could have taken the seat.
//   - SHRINK: the same if absent seats beyond three could have been given up.
//   - HANG: no process that was told to stop waits for ever.
//   - ODD: seats that are given up after seat_grace leave an odd number in the end, unless a holder
//     comes back between the two of a pair.
//   - MARGIN: no change of seats leaves less than a majority of them alive.
//
// TWO holds with kills, too. With kills the other properties have accepted exceptions, which are
// not checked: a voter that is killed while the entry that gives up its seat is in flight may be
// the one that has to come back; and kills that leave no majority make an orderly stop wait for its
// 10 s, which are not modelled. But a process that knows that it is no member never waits without a
// leader.
package seats
