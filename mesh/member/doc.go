// Package member is a process's side of its membership: package view decides who is a member, and
// a [Member] is one.
//
// One goroutine ([Member.Run]) asks the leader for whatever this process needs next. Outside of the
// view it asks to be admitted, after the members have dialled it back (join.go, V3). Inside it asks
// for a lease, which counts from its own send, every L/5 (renew.go, V4). When it was told to leave
// it waits until everything that it held is elsewhere, and asks to be let go (leave.go, V7). Whom to
// ask, and whom next if that one does not answer, is the business of ask.go.
//
// What may be done with a lease is not decided here: the service of the installed view checks it.
package member
