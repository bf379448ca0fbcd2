// Package seats models Raft's seats and the orderly stop: rules V1 and V7 of docs/protocol.md.
//
// # What a state is
//
// A process is up or not, told to stop or not, and has a Raft log of which the model keeps the last
// entry: the seats and the view that it leaves. Entries are ordered by term and index; the model
// keeps their rank among those that some process has last, so histories are endless and the
// number of states is finite. One entry is under way at a time. A process votes for a candidate
// whose log is not older than its own; a candidate has a seat in its own newest entry, and needs a
// majority of the seats there. An entry counts when a majority of its own seats has it. A new leader
// begins with an entry that changes nothing.
//
// The leader marks, removes and admits members, answers those that wait to stop, and moves
// seats; all that it may do next are steps of the model, in any order. What the data of
// partitions asks of a member that leaves (G1) is done at once.
//
// # Properties
//
//   - TWO: no process is elected whose log lacks the last entry that counts.
//   - MAJORITY: if a majority of the seats is up for ever, a leader is elected.
//   - RETURN: the same for a majority of the seats that there were before anybody stopped.
//   - CHOICE: nobody stops in good order and leaves less than a majority, if a live process could have
//     taken the seat.
//   - SHRINK: the same if seats beyond three that are absent could have been given up.
//   - HANG: nobody that was told to stop waits for ever.
//   - ODD: seats that are given up after seat_grace leave an odd number in the end, unless a holder
//     comes back between the two of a pair.
//   - MARGIN: no change of seats leaves less than a majority of them alive.
//
// TWO holds with kills, too. With kills the others have exceptions that are accepted, and are
// not checked: a voter killed while an entry that gives its seat up is under way may be the one
// that has to come back, and kills that leave no majority make an orderly stop wait for its
// 10 s, which are not modelled. But whoever knows that it is no member never waits without a leader.
package seats
