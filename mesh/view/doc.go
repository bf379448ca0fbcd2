// Package view agrees on the view: who is in, and who may act in it.
//
// A few of the processes are voters of a Raft group ([Raft]). Its log holds the
// views, one command for each (agree.go, rule V2), and its leader is the [Leader]:
// it gives leases (lease.go, rounds.go, V4), admits (join.go, V3), removes
// (draft.go, complaints.go, V5 and V6), lets leave (V7), keeps the voters
// (voters.go, seats.go, V1) and hands over when another would do better
// (handover.go).
//
// Everything goes one way: requests of members come in by [Leader.Renew] and
// [Leader.Join], decisions go through Raft and come out as a [State], and what is
// in force on a process is the business of whoever installs it, package mesh. The
// leader reaches Raft, the other processes and the clock through interfaces of
// this package only, so that its tests play all of them by hand.
//
// The package makes no promise of compatibility between versions.
package view
