// Package opening bounds the streams of a port that have not yet sent enough to identify their protocol.
package opening

import (
	"net"
	"sync"

	"github.com/sgkandale/sharelock/internal/share"
)

// Set holds those streams. Its methods are safe for concurrent use. Create it with [New].
type Set struct {
	most int

	mu      sync.Mutex
	streams map[net.Conn]stream // guarded by mu
	count   map[string]int      // of the streams by host; guarded by mu
	came    uint64              // guarded by mu
	closed  bool                // guarded by mu
}

// stream is what is known of a stream: its host, see [share.Host], and when it came.
type stream struct {
	host string
	came uint64
}

// New returns an empty set of at most that many streams.
func New(most int) *Set {
	return &Set{most: most, streams: map[net.Conn]stream{}, count: map[string]int{}}
}

// Add adds a stream and calls start, unless the set is closed; then ok is false. If there are too
// many streams, the set closes one of them, dropped: the oldest of the host that has the most of
// them. So streams that send nothing do not keep out those that do, and a host that opens many harms
// only itself. start must not block and must not call the set.
func (s *Set) Add(conn net.Conn, start func()) (dropped net.Conn, ok bool) {
	host := share.Host(conn.RemoteAddr())
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil, false
	}
	if len(s.streams) >= s.most {
		dropped = s.oldest()
		s.remove(dropped)
	}
	s.came++
	s.streams[conn] = stream{host, s.came}
	s.count[host]++
	start()
	s.mu.Unlock()
	if dropped != nil {
		_ = dropped.Close()
	}
	return dropped, true
}

// oldest returns the oldest stream of the host that has the most of them. The caller must hold mu.
func (s *Set) oldest() (oldest net.Conn) {
	most := 0
	for _, n := range s.count {
		most = max(most, n)
	}
	for conn, st := range s.streams {
		if s.count[st.host] == most && (oldest == nil || st.came < s.streams[oldest].came) {
			oldest = conn
		}
	}
	return oldest
}

// Remove removes a stream that has been identified, or has ended.
func (s *Set) Remove(conn net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remove(conn)
}

// remove is Remove. The caller must hold mu.
func (s *Set) remove(conn net.Conn) {
	st, ok := s.streams[conn]
	if !ok {
		return
	}
	delete(s.streams, conn)
	if s.count[st.host]--; s.count[st.host] == 0 {
		delete(s.count, st.host)
	}
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
	s.streams, s.count = map[net.Conn]stream{}, map[string]int{}
	s.mu.Unlock()
	for conn := range streams {
		_ = conn.Close()
	}
}
