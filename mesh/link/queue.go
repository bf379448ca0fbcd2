package link

import (
	"errors"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/owner"
)

// maxAnswers is about how many bytes of answers wait on a link for a member that does not read them.
// Beyond it a request is not handed to its owner: it is answered Retry (Q1), which is short, so a
// slow link costs its requests latency and this node no memory. Answers to requests that were taken
// before are queued all the same. They are grants and refusals, which are short, and the reads of a
// frame or two.
//
// Nothing else of a link needs a bound of its own. A member sends the next operations of a partition
// only as far as its unconfirmed ones allow (maxUnacked in package owner), and each message of them
// has one acknowledgement, so those are bounded by the other end; none is ever dropped. The requests
// that wait to be sent on a link are those of calls under way, some of them a few times: see
// maxCallsConn in package account.
const maxAnswers = 16 << 20

// queuedReply is an answer that waits to be sent; bytes is about what it takes.
type queuedReply struct {
	reply
	bytes int
}

// answerBytes is about what an answer takes.
func answerBytes(a *owner.Answer) int {
	lost, denied := a.Unrenewed.Lists()
	n := holdsBytes(a.Holds) + 4*(len(lost)+len(denied))
	if a.Lock != nil {
		n += holdsBytes(a.Lock.Holds)
		for i := range a.Lock.Waiters {
			w := &a.Lock.Waiters[i]
			n += answerBase + len(w.ClientID) + len(w.RequestID) + len(w.Principal) + metadataBytes(w.Metadata)
		}
	}
	if a.Err != nil {
		if e, ok := errors.AsType[*sharelock.Error](a.Err); ok {
			n += len(e.Message) + holdsBytes(e.Holds)
		}
	}
	return n + answerBase
}

// answerBase is about what an answer, a hold or a waiter in it takes, beside its texts.
const answerBase = 128

// holdsBytes is about what holds take in an answer.
func holdsBytes(holds []sharelock.Hold) (n int) {
	for i := range holds {
		h := &holds[i]
		n += answerBase + len(h.Key) + len(h.ClientID) + len(h.RequestID) + len(h.Principal) + metadataBytes(h.Metadata)
	}
	return n
}

func metadataBytes(m map[string]string) (n int) {
	for k, v := range m {
		n += len(k) + len(v)
	}
	return n
}

// queuedBytes is about what answers take that wait.
func queuedBytes(list []queuedReply) (n int) {
	for i := range list {
		n += list[i].bytes
	}
	return n
}
