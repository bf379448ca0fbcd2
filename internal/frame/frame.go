// Package frame carries messages over a stream of bytes, in order in each direction. A frame is
// a length of four bytes, big-endian, and the message. Links between members and sessions of
// clients use it.
package frame

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"time"

	"github.com/sgkandale/sharelock/internal/netconn"
)

const (
	// head is the size of the length field.
	head = 4
	// Buffer is the size in bytes up to which the read buffer grows while reads fill it. It is also the
	// most of a message that is copied in order to be written together with the length.
	Buffer = 64 << 10
	// least is the initial size of the read buffer in bytes. It is small because most streams are idle
	// most of the time, and there may be many.
	least = 512
	// calm is the number of consecutive small messages after which a buffer larger than roomy bytes is
	// freed.
	calm  = 16
	roomy = 4 << 10
)

// ErrTooLarge: the length of a frame is above the maximum.
var ErrTooLarge = errors.New("frame is too large")

// Conn is one end of a stream of messages. Recv may be called at the same time as Send, TrySend or
// Flush, but only one goroutine may be in each of these two groups; Close may be called by any. Create it with [New].
type Conn struct {
	conn net.Conn
	most int
	// in holds the bytes that were read; those before from have been returned. full means that the
	// last read filled the buffer.
	in   []byte
	from int
	full bool

	out []byte
	// rest is the part of the last message that the system has not accepted; it is in the array of out.
	rest []byte
	// try is nil if the stream cannot be written without blocking.
	try netconn.TryWriter
	// littleIn and littleOut count consecutive messages that used little of the read and the write buffer.
	littleIn, littleOut int
	// A message may take between patience and a quarter longer to be sent; renewed is when the
	// write deadline was last set.
	patience time.Duration
	renewed  time.Time
}

// New returns one end of a stream. A message has at most most bytes. Send fails if a message
// cannot be sent within patience, or a quarter longer, because the other end does not read.
func New(conn net.Conn, most int, patience time.Duration) *Conn {
	return &Conn{conn: conn, most: most, patience: patience, try: netconn.Try(conn)}
}

// Send sends one message and does not keep it. After an error the stream must not be used.
func (c *Conn) Send(message []byte) error {
	if err := c.Flush(); err != nil {
		return err
	}
	if err := c.limit(); err != nil {
		return err
	}
	// The length is sent with the beginning of a long message. Alone it would be a packet, and a TLS
	// record, of its own.
	first := min(len(message), Buffer)
	c.put(len(message), message[:first])
	if _, err := c.conn.Write(c.out); err != nil || first == len(message) {
		return err
	}
	_, err := c.conn.Write(message[first:])
	return err
}

// CanTry reports whether TrySend may send anything.
func (c *Conn) CanTry() bool { return c.try != nil }

// TrySend is Send for a caller that must not block. It sends what the system accepts at once, and
// reports whether this was the whole message. If not, or after an error, Flush must be called next:
// it sends the rest, or returns the error.
func (c *Conn) TrySend(message []byte) bool {
	c.put(len(message), message)
	n := 0
	if c.try != nil && c.limit() == nil {
		n = c.try.TryWrite(c.out)
	}
	c.rest = c.out[n:]
	return len(c.rest) == 0
}

// Flush sends what TrySend has left. Without a rest it does nothing. After an error the stream must
// not be used.
func (c *Conn) Flush() error {
	if len(c.rest) == 0 {
		return nil
	}
	if err := c.limit(); err != nil {
		return err
	}
	_, err := c.conn.Write(c.rest)
	c.rest = nil
	return err
}

// limit sets the deadline of the next write. Setting it costs as much as a short message, so it is
// set only when a quarter of the patience has passed.
func (c *Conn) limit() error {
	now := time.Now()
	if now.Sub(c.renewed) <= c.patience/4 {
		return nil
	}
	if err := c.conn.SetWriteDeadline(now.Add(c.patience + c.patience/4)); err != nil {
		return err
	}
	c.renewed = now
	return nil
}

// put makes out the length of a message and the beginning of the message.
func (c *Conn) put(length int, beginning []byte) {
	if little(&c.littleOut, length, cap(c.out)) {
		c.out = nil
	}
	c.out = binary.BigEndian.AppendUint32(c.out[:0], uint32(length&math.MaxUint32))
	c.out = append(c.out, beginning...)
}

// Recv blocks until the next message, which is valid until Recv is called again. The error is
// io.EOF if the stream ended between two messages, and wraps [ErrTooLarge] if the message is
// too large.
func (c *Conn) Recv() ([]byte, error) {
	for {
		have := c.in[c.from:]
		if len(have) >= head {
			n := binary.BigEndian.Uint32(have)
			if int64(n) > int64(c.most) {
				return nil, fmt.Errorf("%w: %d bytes, the most is %d", ErrTooLarge, n, c.most)
			}
			if whole := head + int(n); len(have) >= whole {
				c.from += whole
				return have[head:whole:whole], nil
			}
		}
		if err := c.fill(); err != nil {
			return nil, err
		}
	}
}

// little counts consecutive uses of a buffer that is much too large, and reports whether to free it.
func little(times *int, used, room int) bool {
	if room <= roomy || used > room/8 {
		*times = 0
		return false
	}
	*times++
	return *times > calm
}

// fill reads more bytes behind those not yet returned. The buffer grows with what has arrived:
// the length that a stranger announces is not trusted.
func (c *Conn) fill() error {
	rest := c.in[c.from:]
	switch room := cap(c.in); {
	case len(rest) == room, c.full && room < Buffer:
		c.in = append(make([]byte, 0, max(2*room, least)), rest...)
	case little(&c.littleIn, len(c.in), room):
		c.in = append(make([]byte, 0, max(2*len(rest), least)), rest...)
	case c.from > 0:
		c.in = append(c.in[:0], rest...)
	}
	c.from = 0
	n, err := c.conn.Read(c.in[len(c.in):cap(c.in)])
	c.in = c.in[:len(c.in)+n]
	c.full = len(c.in) == cap(c.in)
	switch {
	case n > 0:
		return nil // a later read returns the error again
	case err == io.EOF && len(c.in) > 0: //nolint:errorlint // io.Reader's very value
		return io.ErrUnexpectedEOF
	case err == nil:
		return io.ErrNoProgress
	default:
		return err
	}
}

// Close closes the stream in both directions. It may be called again.
func (c *Conn) Close() error { return c.conn.Close() }
