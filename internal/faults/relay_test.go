package faults

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// relay forwards TCP and UDP to another address, with a delay, and may lose one of a number of
// datagrams. It replaces the kernel's netem. It forwards in order; a stream is delayed but never
// loses bytes.
type relay struct {
	addr, to string
	delay    time.Duration
	loss     int

	ctx  context.Context //nolint:containedctx // the relay's lifetime
	work sync.WaitGroup

	mu      sync.Mutex
	streams map[net.Conn]net.Conn   // from the client's to the node's; guarded by mu
	flows   map[string]*net.UDPConn // by the sender's address; guarded by mu
	packets int                     // guarded by mu
}

// newRelay listens at addr until the test ends.
func newRelay(t testing.TB, addr, to string, delay time.Duration, loss int) *relay {
	t.Helper()
	tcp, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	udp, err := net.ListenPacket("udp", tcp.Addr().String())
	if err != nil {
		t.Fatal(errors.Join(err, tcp.Close()))
	}
	ctx, end := context.WithCancel(context.Background())
	r := &relay{
		addr: tcp.Addr().String(), to: to, delay: delay, loss: loss, ctx: ctx,
		streams: map[net.Conn]net.Conn{}, flows: map[string]*net.UDPConn{},
	}
	t.Cleanup(func() {
		end()
		tcp.Close() //nolint:errcheck // nothing to save
		udp.Close() //nolint:errcheck // nothing to save
		r.reset()
		r.mu.Lock()
		for _, f := range r.flows {
			f.Close() //nolint:errcheck // nothing to save
		}
		r.mu.Unlock()
		r.work.Wait()
	})
	r.work.Go(func() { r.accept(tcp) })
	r.work.Go(func() { r.receive(udp) })
	return r
}

// reset breaks all connections and returns how many there were.
func (r *relay) reset() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := len(r.streams)
	for a, b := range r.streams {
		a.Close() //nolint:errcheck // it is to break
		b.Close() //nolint:errcheck // it is to break
	}
	clear(r.streams)
	return n
}

func (r *relay) accept(l net.Listener) {
	for {
		a, err := l.Accept()
		if err != nil {
			return
		}
		r.work.Go(func() { r.connect(a) })
	}
}

func (r *relay) connect(a net.Conn) {
	defer a.Close() //nolint:errcheck // both ways have ended
	var d net.Dialer
	b, err := d.DialContext(r.ctx, "tcp", r.to)
	if err != nil {
		return
	}
	defer b.Close() //nolint:errcheck // both ways have ended
	r.mu.Lock()
	if r.ctx.Err() != nil {
		r.mu.Unlock()
		return
	}
	r.streams[a] = b
	r.mu.Unlock()
	var ways sync.WaitGroup
	ways.Go(func() { r.stream(a, b) })
	ways.Go(func() { r.stream(b, a) })
	ways.Wait()
	r.mu.Lock()
	delete(r.streams, a)
	r.mu.Unlock()
}

// stream forwards one direction of a connection, and its end.
func (r *relay) stream(from, to net.Conn) {
	line := r.newLine()
	defer line.end()
	for {
		buf := make([]byte, 32<<10)
		n, err := from.Read(buf)
		line.put(func() { to.Write(buf[:n]) }) //nolint:errcheck // the other way hears of it
		if err == nil {
			continue
		}
		line.put(func() {
			half, ok := to.(interface{ CloseWrite() error })
			if !ok || !errors.Is(err, io.EOF) || half.CloseWrite() != nil {
				to.Close() //nolint:errcheck // it may be closed
			}
		})
		return
	}
}

// receive forwards datagrams from a socket for each sender, so that answers reach the sender.
func (r *relay) receive(c net.PacketConn) {
	line := r.newLine()
	defer line.end()
	for {
		buf := make([]byte, 64<<10)
		n, from, err := c.ReadFrom(buf)
		if err != nil {
			return
		}
		if flow := r.flow(c, from); flow != nil && !r.lost() {
			line.put(func() { flow.Write(buf[:n]) }) //nolint:errcheck // datagrams may get lost
		}
	}
}

func (r *relay) flow(c net.PacketConn, from net.Addr) *net.UDPConn {
	r.mu.Lock()
	defer r.mu.Unlock()
	if f := r.flows[from.String()]; f != nil || r.ctx.Err() != nil {
		return f
	}
	to, err := net.ResolveUDPAddr("udp", r.to)
	if err != nil {
		return nil
	}
	f, err := net.DialUDP("udp", nil, to)
	if err != nil {
		return nil
	}
	r.flows[from.String()] = f
	r.work.Go(func() { r.answer(f, c, from) })
	return f
}

func (r *relay) answer(f *net.UDPConn, c net.PacketConn, to net.Addr) {
	line := r.newLine()
	defer line.end()
	for {
		buf := make([]byte, 64<<10)
		n, err := f.Read(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil && !r.lost() { // otherwise nobody listened, which may change
			line.put(func() { c.WriteTo(buf[:n], to) }) //nolint:errcheck // datagrams may get lost
		}
	}
}

// lost counts datagrams and reports which of them are lost.
func (r *relay) lost() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.packets++
	return r.loss > 0 && r.packets%r.loss == 0
}

// line runs functions in order, each the delay after it was added.
type line struct {
	delay  time.Duration
	things chan thing
	done   sync.WaitGroup
}

type thing struct {
	due time.Time
	do  func()
}

func (r *relay) newLine() *line {
	l := &line{delay: r.delay, things: make(chan thing, 1024)}
	l.done.Go(func() {
		for x := range l.things {
			select {
			case <-time.After(time.Until(x.due)):
			case <-r.ctx.Done():
			}
			x.do()
		}
	})
	return l
}

func (l *line) put(do func()) { l.things <- thing{time.Now().Add(l.delay), do} }

// end runs what is left, and waits for that.
func (l *line) end() {
	close(l.things)
	l.done.Wait()
}

// A relay delivers bytes unchanged and late, and so the end of a stream.
func TestRelay(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // nothing to save
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			io.Copy(c, c) //nolint:errcheck // the other side looks at what comes
			c.Close()     //nolint:errcheck // it was read to its end
		}
	}()
	const delay = 5 * time.Millisecond
	r := newRelay(t, "127.0.0.1:0", l.Addr().String(), delay, 0)
	c, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	if _, err := c.Write([]byte("there and back")); err != nil {
		t.Fatal(err)
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(c)
	if err != nil || string(got) != "there and back" {
		t.Errorf("echo: %q, %v", got, err)
	}
	if d := time.Since(begin); d < 2*delay {
		t.Errorf("there and back in %v, want %v or more", d, 2*delay)
	}
	if c, err = net.Dial("tcp", r.addr); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if n := r.reset(); n != 1 {
		t.Errorf("%d connections were broken, want 1", n)
	}
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("a connection that was broken can be read")
	}
}

// Datagrams are delivered in both directions, except those that are lost.
func TestRelayLosesDatagrams(t *testing.T) {
	u, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close() //nolint:errcheck // nothing to save
	go func() {
		buf := make([]byte, 100)
		for {
			n, from, err := u.ReadFrom(buf)
			if err != nil {
				return
			}
			u.WriteTo(buf[:n], from) //nolint:errcheck // the other side looks at what comes
		}
	}()
	r := newRelay(t, "127.0.0.1:0", u.LocalAddr().String(), 0, 5)
	c, err := net.Dial("udp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	// Each goes out and comes back: of 1, 2, 3 datagrams, the fifth packet is lost, which is the third
	// datagram on its way out.
	for i := byte(1); i <= 4; i++ {
		if _, err := c.Write([]byte{i}); err != nil {
			t.Fatal(err)
		}
		if i == 3 {
			continue
		}
		got := make([]byte, 1)
		if _, err := c.Read(got); err != nil || got[0] != i {
			t.Errorf("got %v, %v, want %d", got, err, i)
		}
	}
}
