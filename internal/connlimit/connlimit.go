// Package connlimit bounds the connections of clients at a node.
//
// The bound is shared by the ports of the node, and among hosts: while the node is full, a host that
// has fewer connections than another one takes the place of the newest connection of that one, so
// that a host which opens many harms itself only.
package connlimit

import (
	"container/list"
	"log/slog"
	"net"
	"net/netip"
	"sync"

	"github.com/sgkandale/sharelock/internal/seldom"
)

// Limit is the bound of a node. Make it with [New]. Its methods are safe for concurrent use.
type Limit struct {
	most int
	log  *slog.Logger
	full seldom.Log

	mu sync.Mutex
	// hosts are the open connections, of each host in the order in which they came; guarded by mu.
	hosts map[string]*list.List
	open  int // guarded by mu
}

// New returns a bound of that many connections; 0 is no bound.
func New(most int, log *slog.Logger) *Limit {
	return &Limit{most: most, log: log, hosts: make(map[string]*list.List)}
}

// Listener returns a listener of the connections of l that are within the bound. The others are closed.
func (l *Limit) Listener(inner net.Listener) net.Listener {
	if l.most == 0 {
		return inner
	}
	return &listener{Listener: inner, limit: l}
}

// Open returns the number of connections.
func (l *Limit) Open() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.open
}

type listener struct {
	net.Listener
	limit *Limit
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	for {
		inner, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if c := l.limit.enter(inner); c != nil {
			return c, nil
		}
		_ = inner.Close()
	}
}

// conn is a connection that is counted until it is closed.
type conn struct {
	net.Conn
	limit *Limit
	host  string
	// place is in the list of the host, and nil once it is not; guarded by Limit.mu.
	place *list.Element
}

// enter counts a connection, or returns nil if there is no room for it.
func (l *Limit) enter(inner net.Conn) *conn {
	c := &conn{Conn: inner, limit: l, host: hostOf(inner.RemoteAddr())}
	l.mu.Lock()
	refused, dropped := false, (*conn)(nil)
	if l.open >= l.most {
		if dropped = l.displaced(c.host); dropped == nil {
			refused = true
		} else {
			l.forget(dropped)
		}
	}
	if !refused {
		of := l.hosts[c.host]
		if of == nil {
			of = list.New()
			l.hosts[c.host] = of
		}
		c.place = of.PushBack(c)
		l.open++
	}
	l.mu.Unlock()
	if (refused || dropped != nil) && l.full.Allow(c.host) {
		l.log.Warn("the node has as many connections as limits.max_connections allows", "limit", l.most, "remote", inner.RemoteAddr().String(), "refused", refused)
	}
	if dropped != nil {
		_ = dropped.Conn.Close()
	}
	if refused {
		return nil
	}
	return c
}

// displaced returns the newest connection of the host that has the most, or nil if a host with one
// more would have as many as that one. It needs mu.
func (l *Limit) displaced(host string) *conn {
	own := 1
	if of := l.hosts[host]; of != nil {
		own += of.Len()
	}
	var most *list.List
	for _, of := range l.hosts {
		if of.Len() > own && (most == nil || of.Len() > most.Len()) {
			most = of
		}
	}
	if most == nil {
		return nil
	}
	return most.Back().Value.(*conn)
}

// forget takes a connection off the count. It needs mu.
func (l *Limit) forget(c *conn) {
	if c.place == nil {
		return
	}
	of := l.hosts[c.host]
	if of.Remove(c.place); of.Len() == 0 {
		delete(l.hosts, c.host)
	}
	c.place = nil
	l.open--
}

// Close implements net.Conn.
func (c *conn) Close() error {
	c.limit.mu.Lock()
	c.limit.forget(c)
	c.limit.mu.Unlock()
	return c.Conn.Close()
}

// NetConn returns the connection below, like the method of crypto/tls.Conn.
func (c *conn) NetConn() net.Conn { return c.Conn }

// hostOf returns what counts as the host of an address: of IPv6 the network, which a host can choose
// its addresses in.
func hostOf(addr net.Addr) string {
	host, _, err := net.SplitHostPort(addr.String())
	if err != nil {
		return addr.String()
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return host
	}
	if ip = ip.Unmap().WithZone(""); ip.Is6() {
		if network, err := ip.Prefix(64); err == nil {
			return network.String()
		}
	}
	return ip.String()
}
