package memnet

import (
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"
)

// window is how many bytes one direction of a stream holds before its writer blocks.
const window = 256 << 10

// segment is one piece of a stream in flight.
type segment struct {
	kind segKind
	data []byte
	due  time.Time
}

type segKind uint8

const (
	segData segKind = iota
	// segEnd: the sender has closed. It neither sends nor reads any more.
	segEnd
	// segReset: the stream is broken and unread bytes are lost.
	segReset
)

// stream is one direction of a connection.
type stream struct {
	net      *Net
	from, to *machine
	// back is the other direction. opened says who opened both to whom.
	back   *stream
	opened link
	// flying holds the segments that have not arrived, in the order of sending.
	flying []segment
	// arrived holds the bytes that nobody has read yet.
	arrived []byte
	// held counts the bytes of both.
	held int
	// ended: the sender's segEnd has arrived. refused: the receiver has closed, and the sender
	// knows it. broken: a reset has arrived at either end.
	ended, refused, broken bool
	// deaf: the receiver has closed; what arrives is dropped.
	deaf  bool
	timer *time.Timer
	// wake wakes the reader and the writer.
	wake sync.Cond
}

// send queues a segment. The caller holds the network's lock.
func (s *stream) send(seg segment) {
	seg.due = time.Now().Add(s.net.delay(s.from, s.to))
	s.held += len(seg.data)
	s.flying = append(s.flying, seg)
	s.pump()
}

// pump delivers the segments that are due and sets the timer for the rest. It is called when a
// segment is sent, when one falls due and when a fault ends. A segment that is due waits for
// those before it, as in TCP.
func (s *stream) pump() {
	if s.timer != nil {
		s.timer.Stop()
		s.timer = nil
	}
	for len(s.flying) > 0 && !s.net.blocked(s.from, s.to) && !s.net.links[s.opened].walled {
		seg := s.flying[0]
		if wait := time.Until(seg.due); wait > 0 {
			s.timer = time.AfterFunc(wait, s.fire)
			return
		}
		s.flying[0] = segment{}
		s.flying = s.flying[1:]
		s.arrive(seg)
	}
}

func (s *stream) fire() {
	s.net.mu.Lock()
	defer s.net.mu.Unlock()
	s.pump()
}

func (s *stream) arrive(seg segment) {
	switch seg.kind {
	case segData:
		if s.deaf || s.broken {
			s.held -= len(seg.data)
		} else {
			s.arrived = append(s.arrived, seg.data...)
		}
	case segEnd:
		s.ended = true
		s.back.refused = true
		s.back.wake.Broadcast()
	case segReset:
		s.breakOff()
		s.back.breakOff()
	}
	s.wake.Broadcast()
}

// breakOff makes reads and writes fail and drops unread bytes.
func (s *stream) breakOff() {
	s.broken = true
	s.held -= len(s.arrived)
	s.arrived = nil
	s.wake.Broadcast()
}

// conn is one end of a connection.
type conn struct {
	host          *Host
	local, remote net.Addr
	peer          *conn
	in, out       *stream
	closed        bool
	read, write   deadline
}

// connect creates both ends of a connection.
func (n *Net) connect(a, b *Host, from, to netip.AddrPort) (near, far *conn) {
	opened := link{a.machine, b.machine}
	there := &stream{net: n, from: a.machine, to: b.machine, opened: opened}
	back := &stream{net: n, from: b.machine, to: a.machine, opened: opened, back: there}
	there.back = back
	there.wake.L, back.wake.L = &n.mu, &n.mu
	localAddr, remoteAddr := net.TCPAddrFromAddrPort(from), net.TCPAddrFromAddrPort(to)
	near = &conn{host: a, local: localAddr, remote: remoteAddr, in: back, out: there}
	far = &conn{host: b, local: remoteAddr, remote: localAddr, in: there, out: back}
	near.peer, far.peer = far, near
	n.conns[near] = struct{}{}
	n.conns[far] = struct{}{}
	return near, far
}

// Read blocks until there are bytes, the end, an error or the deadline.
func (c *conn) Read(p []byte) (int, error) {
	mu := &c.host.net.mu
	mu.Lock()
	defer mu.Unlock()
	for {
		switch {
		case c.closed:
			return 0, c.fail("read", net.ErrClosed)
		case c.read.passed():
			return 0, c.fail("read", os.ErrDeadlineExceeded)
		case c.in.broken:
			return 0, c.fail("read", os.NewSyscallError("read", syscall.ECONNRESET))
		case len(p) == 0:
			return 0, nil
		case len(c.in.arrived) > 0:
			n := copy(p, c.in.arrived)
			c.in.arrived = c.in.arrived[n:]
			if len(c.in.arrived) == 0 {
				c.in.arrived = nil
			}
			c.in.held -= n
			c.in.wake.Broadcast() // room for the writer
			return n, nil
		case c.in.ended:
			return 0, io.EOF
		}
		c.in.wake.Wait()
	}
}

// Write blocks until there is room in the window, an error or the deadline.
func (c *conn) Write(p []byte) (int, error) {
	mu := &c.host.net.mu
	mu.Lock()
	defer mu.Unlock()
	written := 0
	for {
		switch {
		case c.closed:
			return written, c.fail("write", net.ErrClosed)
		case c.write.passed():
			return written, c.fail("write", os.ErrDeadlineExceeded)
		case c.out.broken:
			return written, c.fail("write", os.NewSyscallError("write", syscall.ECONNRESET))
		case c.out.refused:
			return written, c.fail("write", os.NewSyscallError("write", syscall.EPIPE))
		case written == len(p):
			return written, nil
		}
		if room := window - c.out.held; room > 0 {
			chunk := p[written:min(len(p), written+room)]
			c.out.send(segment{kind: segData, data: append([]byte(nil), chunk...)})
			written += len(chunk)
			continue
		}
		c.out.wake.Wait()
	}
}

// TryWrite implements netconn.TryWriter. Now and then it accepts only a part, as a system whose
// buffer is full.
func (c *conn) TryWrite(p []byte) int {
	mu := &c.host.net.mu
	mu.Lock()
	defer mu.Unlock()
	if c.closed || c.write.passed() || c.out.broken || c.out.refused {
		return 0
	}
	n := min(len(p), max(window-c.out.held, 0))
	if rnd := c.host.net.rnd; rnd.IntN(16) == 0 {
		n = rnd.IntN(n + 1)
	}
	if n > 0 {
		c.out.send(segment{kind: segData, data: append([]byte(nil), p[:n]...)})
	}
	return n
}

// Close ends both directions. Bytes that were written before it still arrive.
func (c *conn) Close() error {
	mu := &c.host.net.mu
	mu.Lock()
	defer mu.Unlock()
	if c.closed {
		return c.fail("close", net.ErrClosed)
	}
	c.drop()
	c.out.send(segment{kind: segEnd})
	return nil
}

// drop closes this end without telling the other.
func (c *conn) drop() {
	c.closed = true
	c.read.stop()
	c.write.stop()
	c.in.deaf = true
	c.in.held -= len(c.in.arrived)
	c.in.arrived = nil
	c.in.wake.Broadcast()
	c.out.wake.Broadcast()
	if c.peer.closed {
		delete(c.host.net.conns, c.peer)
		delete(c.host.net.conns, c)
	}
}

// LocalAddr returns this end's address.
func (c *conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr returns the other end's address.
func (c *conn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline sets both deadlines.
func (c *conn) SetDeadline(t time.Time) error { return c.setDeadlines(t, &c.read, &c.write) }

// SetReadDeadline makes reads fail from t on. The zero time means no deadline.
func (c *conn) SetReadDeadline(t time.Time) error { return c.setDeadlines(t, &c.read) }

// SetWriteDeadline makes writes fail from t on. The zero time means no deadline.
func (c *conn) SetWriteDeadline(t time.Time) error { return c.setDeadlines(t, &c.write) }

func (c *conn) setDeadlines(t time.Time, list ...*deadline) error {
	mu := &c.host.net.mu
	mu.Lock()
	defer mu.Unlock()
	if c.closed {
		return c.fail("set", net.ErrClosed)
	}
	for _, d := range list {
		wake := &c.in.wake
		if d == &c.write {
			wake = &c.out.wake
		}
		d.set(t, wake)
	}
	return nil
}

func (c *conn) fail(op string, err error) error {
	return opError(op, "tcp", c.local, c.remote, err)
}

// deadline is a read or write deadline. Its timer only wakes the waiting goroutine, which then
// compares the deadline with the clock.
type deadline struct {
	at    time.Time
	timer *time.Timer
}

func (d *deadline) passed() bool { return !d.at.IsZero() && !time.Now().Before(d.at) }

// set moves the deadline. The caller holds the lock of the condition variable.
func (d *deadline) set(t time.Time, wake *sync.Cond) {
	d.stop()
	d.at = t
	if wait := time.Until(t); !t.IsZero() && wait > 0 {
		d.timer = time.AfterFunc(wait, func() {
			wake.L.Lock()
			defer wake.L.Unlock()
			wake.Broadcast()
		})
	}
	wake.Broadcast()
}

func (d *deadline) stop() {
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
}
