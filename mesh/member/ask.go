package member

import (
	"slices"

	"github.com/sgkandale/sharelock/mesh/epoch"
)

// asked determines the process to which the next request for the leader is sent.
type asked struct {
	// hint is the peer address of the leader according to the last answer; "" if it is not known.
	hint string
	// failed is the address that did not answer last; it is skipped once.
	failed string
	// tried is the address that was asked last when no leader was known.
	tried string
}

// leaderAddr returns the address to which to send the next request to the leader: that of the
// leader according to Raft or to the last answer, else of one process after the other.
func (m *Member) leaderAddr(a *epoch.View) string {
	m.mu.Lock()
	failed := m.asked.failed
	m.asked.failed = ""
	m.mu.Unlock()
	if id := m.cfg.Raft.Leader(); id != "" {
		// Raft notices late that its leader is gone.
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

// others returns the peer addresses of all other processes that may know the leader, each once. The
// address that has just failed is left out unless there is no other.
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

// following returns the address after last in a sorted list, or the first after the last one; "" if
// the list is empty. So every address has its turn, even if the list changes.
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

// follow remembers the leader that the process at asked has named.
func (m *Member) follow(asked, leader string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked.hint = ""
	if leader != asked {
		m.asked.hint = leader
	}
}

// forget notes that the process at addr did not answer.
func (m *Member) forget(addr string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.asked.hint == addr {
		m.asked.hint = ""
	}
	m.asked.failed = addr
}
