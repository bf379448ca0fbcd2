package member

import (
	"slices"

	"github.com/sgkandale/sharelock/mesh/epoch"
)

// asked is which process to send the next request to, which is for the leader.
type asked struct {
	// hint is the peer address of who was last said to lead; "" is unknown.
	hint string
	// failed is the address that did not answer last; it is passed over once.
	failed string
	// tried is the address that was asked last for want of a better one.
	tried string
}

// leaderAddr is where to send the next request to the leader: who leads as far
// as Raft or the last answer knows, else one process after the other.
func (m *Member) leaderAddr(a *epoch.View) string {
	m.mu.Lock()
	failed := m.asked.failed
	m.asked.failed = ""
	m.mu.Unlock()
	if id := m.cfg.Raft.Leader(); id != "" {
		// Raft takes a while to notice that its leader is gone.
		if addr := m.cfg.Address(id); addr != "" && addr != failed {
			return addr
		}
	}
	others := m.others(a, failed)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.asked.hint != "" {
		return m.asked.hint
	}
	m.asked.tried = following(m.asked.tried, others)
	return m.asked.tried
}

// others are the peer addresses of all other processes that may know who leads, each once.
// The address that has just failed is left out unless there is no other.
func (m *Member) others(a *epoch.View, failed string) []string {
	var known []string
	add := func(addr string) {
		if addr != m.cfg.Self.Peer && addr != failed {
			known = append(known, addr)
		}
	}
	if a != nil {
		for _, other := range a.Members {
			add(other.Peer)
		}
	}
	for _, g := range m.cfg.Processes() {
		if len(g.Meta.GetClusterId()) > 0 {
			add(g.Meta.GetPeer())
		}
	}
	if len(known) == 0 && failed != "" {
		known = append(known, failed)
	}
	slices.Sort(known)
	return slices.Compact(known)
}

// following returns the address after last in a sorted list, which begins again at its end;
// "" of an empty list. So every address has its turn, also while the list changes.
func following(last string, sorted []string) string {
	if len(sorted) == 0 {
		return ""
	}
	at, found := slices.BinarySearch(sorted, last)
	if found {
		at++
	}
	return sorted[at%len(sorted)]
}

// follow remembers who is said to lead.
func (m *Member) follow(asked, leader string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked.hint = ""
	if leader != asked {
		m.asked.hint = leader
	}
}

func (m *Member) forget(addr string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.asked.hint == addr {
		m.asked.hint = ""
	}
	m.asked.failed = addr
}
