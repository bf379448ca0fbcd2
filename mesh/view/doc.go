// Package view implements the agreement on the view: which processes are members, and which of them
// may act.
//
// Up to five processes are the voters of a Raft group ([Raft]). Its log contains one command for
// each view (agree.go, rule V2). The [Leader] runs on the Raft leader. It grants leases (lease.go,
// rounds.go, V4), admits processes (join.go, V3), removes members (draft.go, complaints.go, V5 and
// V6), lets members leave (stops.go, V7), assigns the seats of the voters (voters.go, seats.go,
// V1), and hands leadership to a voter that reaches more members (handover.go).
//
// Data flows in one direction: requests of members arrive through [Leader.Renew] and [Leader.Join],
// and decisions go through Raft and come out as a [State]. Package mesh installs the state on its
// process. The leader reaches Raft, the other processes and the clock only through interfaces of
// this package, so that tests can implement all of them by hand.
//
// The package makes no promise of compatibility between versions.
package view
