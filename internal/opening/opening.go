// Package opening bounds the streams of a port that have not said yet what they are.
package opening

import (
	"net"
	"sync"
)

// Set is those streams. Its methods are safe for concurrent use. Make it with [New].
type Set struct {
	most int

	mu      sync.Mutex
	streams map[net.Conn]uint64 // by when they came; guarded by mu
	came    uint64              // guarded by mu
	closed  bool                // guarded by mu
}

// New returns an empty set of at most that many streams.
func New(most int) *Set { return &Set{most: most, streams: make(map[net.Conn]uint64)} }

// Add adds a stream and calls start, unless the set is closed; then ok is false. If there are too
// many streams, the set closes one of them, dropped, so that streams that say nothing do not keep
// out those that do: the oldest of the host that has the most of them. A host that opens many
// harms itself only. start must not wait and must not call the set.
func (s *Set) Add(conn net.Conn, start func()) (dropped net.Conn, ok bool) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil, false
	}
	if len(s.streams) >= s.most {
		dropped = s.oldest()
		delete(s.streams, dropped)
	}
	s.came++
	s.streams[conn] = s.came
	start()
	s.mu.Unlock()
	if dropped != nil {
		_ = dropped.Close()
	}
	return dropped, true
}

// oldest returns the oldest stream of the host that has the most of them. It needs mu.
func (s *Set) oldest() (oldest net.Conn) {
	count := make(map[string]int)
	for conn := range s.streams {
		count[Host(conn)]++
	}
	most := 0
	for _, n := range count {
		most = max(most, n)
	}
	for conn, came := range s.streams {
		if count[Host(conn)] == most && (oldest == nil || came < s.streams[oldest]) {
			oldest = conn
		}
	}
	return oldest
}

// Host returns the host of the other end of a stream.
func Host(conn net.Conn) string {
	addr := conn.RemoteAddr().String()
	if host, _, err := net.SplitHostPort(addr); err == nil {
		return host
	}
	return addr
}

// Remove removes a stream that has said what it is, or has ended.
func (s *Set) Remove(conn net.Conn) {
	s.mu.Lock()
	delete(s.streams, conn)
	s.mu.Unlock()
}

// Len returns the number of streams.
func (s *Set) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.streams)
}

// Close closes all streams, and those that are added later are refused.
func (s *Set) Close() {
	s.mu.Lock()
	s.closed = true
	streams := s.streams
	s.streams = make(map[net.Conn]uint64)
	s.mu.Unlock()
	for conn := range streams {
		_ = conn.Close()
	}
}
