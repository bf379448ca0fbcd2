package view

import "github.com/hashicorp/raft"

// ballots is Raft's transport, with requests for votes changed on their way in: the library
// refuses a candidate that has no vote in the receiver's own configuration. A voter that
// was away when another one was promoted would never elect it, and the two of them could be
// a majority of three that elects nobody (V1). Raft needs no such rule: logs are compared,
// and it is the candidate's configuration that counts the votes.
type ballots struct {
	*raft.NetworkTransport
	in     chan raft.RPC
	latest func() []raft.Server
	stop   chan struct{}
	done   chan struct{}
}

var (
	_ raft.Transport   = (*ballots)(nil)
	_ raft.WithPreVote = (*ballots)(nil)
)

// newBallots wraps a transport. It delivers no request before start.
func newBallots(t *raft.NetworkTransport) *ballots {
	return &ballots{NetworkTransport: t, in: make(chan raft.RPC), stop: make(chan struct{}), done: make(chan struct{})}
}

// start passes requests on until close is called. latest returns the receiver's own configuration.
func (b *ballots) start(latest func() []raft.Server) {
	b.latest = latest
	go b.run()
}

// Consumer implements raft.Transport.
func (b *ballots) Consumer() <-chan raft.RPC { return b.in }

func (b *ballots) run() {
	defer close(b.done)
	for {
		select {
		case rpc := <-b.NetworkTransport.Consumer():
			switch req := rpc.Command.(type) {
			case *raft.RequestVoteRequest:
				req.ID = admitted(req.ID, b.latest())
			case *raft.RequestPreVoteRequest:
				req.ID = admitted(req.ID, b.latest())
			}
			select {
			case b.in <- rpc:
			case <-b.stop:
				return
			}
		case <-b.stop:
			return
		}
	}
}

// admitted returns the id that the library is shown for a candidate: the candidate's own, if it is
// a voter in the receiver's configuration, else the id of any voter.
func admitted(candidate []byte, servers []raft.Server) []byte {
	var voter []byte
	for _, s := range servers {
		switch {
		case s.Suffrage != raft.Voter:
		case string(s.ID) == string(candidate):
			return candidate
		default:
			voter = []byte(s.ID)
		}
	}
	if voter == nil {
		return candidate
	}
	return voter
}

// close ends the goroutine. Raft must have ended before.
func (b *ballots) close() {
	close(b.stop)
	<-b.done
}
