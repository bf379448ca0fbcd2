// Package route is one request's way to the owner of its key and back.
//
// A caller asks any node. The node's [Router] checks the request, finds the owner in the ring of the
// installed view, hands it to the service here or to a link, and brings the answer back, whatever
// moves meanwhile (Q1): while the owner says Retry, or a newer view comes, it is sent again. Each
// send has a number, and a grant counts only when it answers the newest one (Q2). What a caller may
// count as safe begins with its request, not with the answer (Q3). A node that may not act says so
// and never guesses (Q4). A request whose caller is gone is given up at its owner, and a grant that
// nobody will ask for again is taken back.
//
// There is one type for all of this, the request: unary or of a session, an acquire or any other.
// Its state says who has it: the goroutine that makes its first send, then nobody (a session's calls
// have no goroutine as long as all they wait for is their first answer), then a goroutine that
// drives it. All answers come in by its method Answer.
//
//   - locker.go, force.go, list.go and session.go are what the API calls; make.go checks it,
//   - request.go finds the owner, sends, and takes the answers,
//   - drive.go sends again, giveup.go gives up, answer.go makes the caller's answer,
//   - abandoned.go ends what callers have left, sessions.go looks after calls of sessions,
//   - package mesh/keepalive renews the holds of sessions.
package route
