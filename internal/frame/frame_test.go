package frame

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"testing"
	"testing/iotest"
	"time"
)

const most = 1 << 20

// pair returns both ends of a stream.
func pair(t *testing.T) (a, b *Conn) {
	t.Helper()
	near, far := net.Pipe()
	t.Cleanup(func() { _, _ = near.Close(), far.Close() })
	return New(near, most, time.Minute), New(far, most, time.Minute)
}

var sizes = []int{0, 1, 127, least - head, least, 4096, Buffer - head, Buffer, Buffer + 1, 4*Buffer + 1, 9*Buffer - 5, most, 3, 0, 700}

// Messages of all sizes arrive complete, in order, and separate.
func TestArrive(t *testing.T) {
	a, b := pair(t)
	sent := make(chan error, 1)
	go func() {
		for i, n := range sizes {
			if err := a.Send(bytes.Repeat([]byte{byte(i)}, n)); err != nil {
				sent <- err
				return
			}
		}
		sent <- a.Close()
	}()
	for i, n := range sizes {
		got, err := b.Recv()
		if err != nil || !bytes.Equal(got, bytes.Repeat([]byte{byte(i)}, n)) {
			t.Fatalf("message %d has %d bytes (%v), want %d of %d", i, len(got), err, n, i)
		}
	}
	if _, err := b.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("after the last message: %v", err)
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
}

// A buffer that a burst needed is freed after a number of small messages.
func TestRoomIsGivenBack(t *testing.T) {
	a, b := pair(t)
	say := func(n, times int) {
		for range times {
			sent := make(chan error, 1)
			go func() { sent <- a.Send(make([]byte, n)) }()
			if _, err := b.Recv(); err != nil {
				t.Fatal(err)
			}
			if err := <-sent; err != nil {
				t.Fatal(err)
			}
		}
	}
	say(Buffer-head, 10)
	if cap(a.out) < Buffer || cap(b.in) < Buffer {
		t.Errorf("room for %d and %d bytes in a burst", cap(a.out), cap(b.in))
	}
	say(10, 3*calm)
	if cap(a.out) > roomy || cap(b.in) > roomy {
		t.Errorf("room for %d and %d bytes after it", cap(a.out), cap(b.in))
	}
	say(most, 1)
	if cap(b.in) < most {
		t.Errorf("room for %d bytes in a large message", cap(b.in))
	}
	say(10, 3*calm)
	if cap(b.in) > roomy {
		t.Errorf("room for %d bytes after it", cap(b.in))
	}
}

// Messages of equal size, whatever it is, need no new buffer.
func TestRoomIsKept(t *testing.T) {
	for _, n := range []int{0, 100, 5000, Buffer - head, Buffer, Buffer + 1, 5 * Buffer} {
		message := append(binary.BigEndian.AppendUint32(nil, uint32(n)), make([]byte, n)...)
		c := New(readConn{Reader: &again{message: message}}, most, time.Minute)
		for range 100 {
			if _, err := c.Recv(); err != nil {
				t.Fatal(err)
			}
		}
		room := &c.in[:1][0]
		for range 100 {
			if _, err := c.Recv(); err != nil {
				t.Fatal(err)
			}
		}
		if room != &c.in[:1][0] {
			t.Errorf("messages of %d bytes are put into new room", n)
		}
	}
}

// again returns one message repeatedly, and never two in one read.
type again struct {
	message []byte
	at      int
}

func (a *again) Read(p []byte) (int, error) {
	n := copy(p, a.message[a.at:])
	a.at = (a.at + n) % len(a.message)
	return n, nil
}

// readConn is a stream that reads from a reader.
type readConn struct {
	net.Conn
	io.Reader
}

func (c readConn) Read(p []byte) (int, error) { return c.Reader.Read(p) }

// However a stream is cut into reads, the messages are the same.
func TestArriveInParts(t *testing.T) {
	var all []byte
	for i, n := range sizes {
		if n < 2*Buffer {
			all = append(all, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
			all = append(all, bytes.Repeat([]byte{byte(i)}, n)...)
		}
	}
	for name, cut := range map[string]func(io.Reader) io.Reader{
		"a byte each": iotest.OneByteReader, "halves": iotest.HalfReader, "the end with data": iotest.DataErrReader,
	} {
		t.Run(name, func(t *testing.T) {
			c := New(readConn{Reader: cut(bytes.NewReader(all))}, most, time.Minute)
			for i, n := range sizes {
				if n >= 2*Buffer {
					continue
				}
				if got, err := c.Recv(); err != nil || !bytes.Equal(got, bytes.Repeat([]byte{byte(i)}, n)) {
					t.Fatalf("message %d has %d bytes (%v), want %d of %d", i, len(got), err, n, i)
				}
			}
			if _, err := c.Recv(); err != io.EOF { //nolint:errorlint // the very value
				t.Errorf("after the last message: %v", err)
			}
		})
	}
}

// A message that is cut off, or too long, is an error.
func TestRefused(t *testing.T) {
	for _, tt := range []struct {
		name, bytes string
		want        error
	}{
		{"half a length", "\x00\x00", io.ErrUnexpectedEOF},
		{"half a message", "\x00\x00\x00\x05ab", io.ErrUnexpectedEOF},
		{"too large", "\x00\x10\x00\x01", ErrTooLarge},
		{"larger than any number", "\xff\xff\xff\xff", ErrTooLarge},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := New(readConn{Reader: bytes.NewReader([]byte(tt.bytes))}, most, time.Minute)
			if got, err := c.Recv(); !errors.Is(err, tt.want) {
				t.Errorf("received %q, %v, want %v", got, err, tt.want)
			}
		})
	}
}

// A length without a message costs no memory. A reader that returns nothing ends with an error.
func TestClaimsCostNothing(t *testing.T) {
	c := New(readConn{Reader: io.MultiReader(bytes.NewReader([]byte{0, 15, 0, 0}), iotest.ErrReader(os.ErrDeadlineExceeded))}, most, time.Minute)
	if _, err := c.Recv(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a stream that stands still: %v", err)
	}
	if got := cap(c.in); got > least {
		t.Errorf("%d bytes for a message that has not come, want %d", got, least)
	}
	c = New(readConn{Reader: nothing{}}, most, time.Minute)
	if _, err := c.Recv(); !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("a stream of nothing: %v", err)
	}
}

type nothing struct{}

func (nothing) Read([]byte) (int, error) { return 0, nil }

// Send fails if the other end does not read.
func TestPatience(t *testing.T) {
	near, far := net.Pipe()
	defer near.Close() //nolint:errcheck // a pipe
	defer far.Close()  //nolint:errcheck // a pipe
	if err := New(near, most, time.Millisecond).Send([]byte("x")); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a message that nobody takes: %v", err)
	}
}

// tcpPair returns both ends of a TCP connection.
func tcpPair(t *testing.T) (a, b *Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // nothing is pending
	near, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = near.Close(), far.Close() })
	return New(near, 64<<20, time.Minute), New(far, 64<<20, time.Minute)
}

// TrySend sends what the system accepts at once. Flush or the next Send sends the rest before anything
// else, so that messages of all sizes arrive complete and in order.
func TestTrySend(t *testing.T) {
	for name, ends := range map[string]func(*testing.T) (a, b *Conn){"tcp": tcpPair, "without": pair} {
		t.Run(name, func(t *testing.T) {
			a, b := ends(t)
			if want := name == "tcp" && runtime.GOOS != "windows"; a.CanTry() != want {
				t.Fatalf("can try: %t, want %t", a.CanTry(), want)
			}
			sent := make(chan error, 1)
			whole := 0
			go func() {
				for i, n := range sizes {
					if a.TrySend(bytes.Repeat([]byte{byte(i)}, n)) {
						whole++
					} else if i%2 == 0 {
						if err := a.Flush(); err != nil {
							sent <- err
							return
						}
					}
					if err := a.Send([]byte{byte(i), 1}); err != nil { // sends the rest, too
						sent <- err
						return
					}
				}
				sent <- nil
			}()
			for i, n := range sizes {
				got, err := b.Recv()
				if err != nil || !bytes.Equal(got, bytes.Repeat([]byte{byte(i)}, n)) {
					t.Fatalf("message %d has %d bytes (%v), want %d of %d", i, len(got), err, n, i)
				}
				if got, err := b.Recv(); err != nil || !bytes.Equal(got, []byte{byte(i), 1}) {
					t.Fatalf("after message %d: %v, %v", i, got, err)
				}
			}
			if err := <-sent; err != nil {
				t.Error(err)
			}
			if a.CanTry() == (whole == 0) {
				t.Errorf("%d of %d messages were sent at once", whole, len(sizes))
			}
		})
	}
}

// TrySend does not block while the other end reads nothing. Flush then blocks, and sends what is left.
func TestTrySendIsFull(t *testing.T) {
	a, b := tcpPair(t)
	message := bytes.Repeat([]byte("x"), 48<<20) // more than the system's buffers hold
	if a.TrySend(message) {
		t.Fatal("the system has accepted 48 MiB that nobody reads")
	}
	sent := make(chan error, 1)
	go func() { sent <- a.Flush() }()
	if got, err := b.Recv(); err != nil || !bytes.Equal(got, message) {
		t.Fatalf("%d bytes arrived (%v)", len(got), err)
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	_ = a.Close()
	if a.TrySend([]byte("late")) {
		t.Error("a message was sent on a closed stream")
	}
	if err := a.Flush(); err == nil {
		t.Error("Flush returns no error on a closed stream")
	}
}
