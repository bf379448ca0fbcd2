// Package member is a process's side of its membership. Package view, on the leader, decides which
// processes are members.
//
// One goroutine ([Member.Run]) asks the leader for what this process needs next. A process that is
// not in the view asks to be admitted, after the members have dialled it back (join.go, V3). A
// member asks for a lease every L/5; the lease counts from the time at which the request was sent
// (renew.go, V4). A member that was told to leave waits until other members hold everything that it
// held, and asks to be let go (leave.go, V7). ask.go chooses the process to ask, and the next one
// if that does not answer.
//
// The package does not check the lease: the service of the installed view does.
package member
