package nodetls

import (
	"crypto/x509"
	"log/slog"
	"net"
	"sync"
)

// conns holds the open streams whose peer has presented a certificate, so that they can be closed when
// its authority is no longer trusted. The zero value is ready to use.
type conns struct {
	mu   sync.Mutex
	open map[*socket][]*x509.Certificate // guarded by mu
}

// socket is the connection below TLS. Read returns first the bytes that were read to find out whether
// the stream is TLS.
type socket struct {
	net.Conn
	head  []byte
	conns *conns
}

// Read implements net.Conn.
func (s *socket) Read(b []byte) (int, error) {
	if len(s.head) == 0 {
		return s.Conn.Read(b)
	}
	n := copy(b, s.head)
	s.head = s.head[n:]
	return n, nil
}

// NetConn returns the stream below, like the method of [crypto/tls.Conn].
func (s *socket) NetConn() net.Conn { return s.Conn }

// Close implements net.Conn.
func (s *socket) Close() error {
	s.conns.remove(s)
	return s.Conn.Close()
}

// add records a stream whose peer has presented a certificate. It closes the stream if the newest set does
// not trust the certificate: the handshake may have used an older set.
func (c *conns) add(s *socket, peer []*x509.Certificate, newest func() *Set, log *slog.Logger) {
	if len(peer) == 0 {
		return
	}
	c.mu.Lock()
	if c.open == nil {
		c.open = make(map[*socket][]*x509.Certificate)
	}
	c.open[s] = peer
	c.mu.Unlock()
	if !newest().vouches(peer) {
		revoke(s, peer, log)
	}
}

func (c *conns) remove(s *socket) {
	c.mu.Lock()
	delete(c.open, s)
	c.mu.Unlock()
}

func (c *conns) len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.open)
}

// closeRevoked closes the streams whose certificates a set does not trust.
func (c *conns) closeRevoked(set *Set, log *slog.Logger) {
	c.mu.Lock()
	revoked := make(map[*socket][]*x509.Certificate)
	for s, peer := range c.open {
		if !set.vouches(peer) {
			revoked[s] = peer
		}
	}
	c.mu.Unlock()
	for s, peer := range revoked {
		revoke(s, peer, log)
	}
}

func revoke(s *socket, peer []*x509.Certificate, log *slog.Logger) {
	log.Warn("closed a connection: no authority in tls.ca_file vouches for its certificate any more",
		"remote", s.RemoteAddr().String(), "certificate", describe(peer[0]))
	_ = s.Close()
}
