package route

import (
	"time"

	"github.com/sgkandale/sharelock/internal/metrics"
	"github.com/sgkandale/sharelock/owner"
	pb "github.com/sgkandale/sharelock/proto/sharelock/v1"
)

// sessionDoor is the door of the calls of sessions.
const sessionDoor = "session"

// callCounters counts the calls of sessions. Their batches are guarded by the mu of each session.
// The zero value counts nothing.
type callCounters struct {
	acquire, renew, release, giveUp *metrics.Method
}

func newCallCounters(c *metrics.Calls) callCounters {
	return callCounters{
		acquire: c.Method(sessionDoor, "acquire"), renew: c.Method(sessionDoor, "renew"),
		release: c.Method(sessionDoor, "release"), giveUp: c.Method(sessionDoor, "give_up"),
	}
}

// of returns the counter of a kind of requests.
func (c *callCounters) of(kind owner.Kind) *metrics.Method {
	switch kind {
	case owner.Acquire:
		return c.acquire
	case owner.Renew:
		return c.renew
	case owner.Cancel:
		return c.giveUp
	default:
		return c.release
	}
}

// codeOf returns the code under which an answer is counted.
func codeOf(err error) string {
	if err == nil {
		return metrics.OK
	}
	return pb.Reason(err)
}

// count counts the answer to a request, at a time of the router's clock. It needs s.mu.
func (s *session) count(q *request, at time.Duration, err error) {
	s.counted.Record(s.router.counters.of(q.req.Kind), codeOf(err), at-q.began)
	if s.closed { // nobody will ask it
		s.counted.Flush()
	}
}

// countRefused counts a call that was refused at once.
func (s *session) countRefused(kind owner.Kind, err error) {
	s.mu.Lock()
	s.counted.Record(s.router.counters.of(kind), codeOf(err), 0)
	if s.closed {
		s.counted.Flush()
	}
	s.mu.Unlock()
}

// flushCounted counts the calls that the session has kept.
func (s *session) flushCounted() {
	s.mu.Lock()
	s.counted.Flush()
	s.mu.Unlock()
}

// Sessions returns the number of open sessions, and counts the calls that they have kept for
// Config.Calls.
func (rt *Router) Sessions() int {
	all := rt.sessions.list()
	for _, s := range all {
		s.flushCounted()
	}
	return len(all)
}
