package link

import (
	"time"

	"github.com/sgkandale/sharelock/ring"
)

// Stats are numbers about the links between this member and another.
type Stats struct {
	// RTT is how long the last answer to a ping took; 0 if there was none.
	RTT time.Duration
	// Queued is about how many bytes wait to be sent to the member: requests, operations, answers
	// and acknowledgements.
	Queued int
}

// Stats returns numbers about the links to and from each member.
func (ls *Links) Stats() map[ring.Identity]Stats {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	stats := make(map[ring.Identity]Stats, len(ls.all))
	for id, l := range ls.all {
		stats[id] = l.stats()
	}
	for e := range ls.ends {
		if id := e.member.Load(); id != nil {
			st := stats[*id]
			st.Queued += e.queued()
			stats[*id] = st
		}
	}
	return stats
}

// begin and finish keep track of the owner's ends of links from other members.
func (ls *Links) begin(e *ownerEnd) {
	ls.mu.Lock()
	ls.ends[e] = struct{}{}
	ls.mu.Unlock()
}

func (ls *Links) finish(e *ownerEnd) {
	ls.mu.Lock()
	delete(ls.ends, e)
	ls.mu.Unlock()
}

// forwardBase is about what a request takes on a link, beside its texts.
const forwardBase = 64

func (l *Link) stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	st := Stats{RTT: l.rtt}
	for i := range l.queue {
		r := l.queue[i].req
		st.Queued += forwardBase + len(r.Key) + len(r.ClientID) + len(r.RequestID) + metadataBytes(r.Metadata)
	}
	for i := range l.entries {
		st.Queued += entriesHead + len(l.entries[i].Ops)
	}
	return st
}

// ackBytes is about what an acknowledgement takes on a link.
const ackBytes = 16

func (e *ownerEnd) queued() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.bytes + ackBytes*len(e.acks)
}
