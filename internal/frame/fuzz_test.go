package frame

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"testing"
	"testing/iotest"
	"time"
)

// given is a connection from which some bytes can be read, and that then ends.
type given struct {
	net.Conn
	read func([]byte) (int, error)
}

func (g given) Read(b []byte) (int, error) { return g.read(b) }

// FuzzRecv: however the bytes of a stranger arrive, Recv returns the messages in them, and an error for
// anything else. It does not allocate memory for a length before the bytes have arrived.
func FuzzRecv(f *testing.F) {
	const most = 1 << 10
	f.Add([]byte("\x00\x00\x00\x02hi\x00\x00\x00\x00"))
	f.Add([]byte("\xff\xff\xff\xff"))
	f.Add([]byte("\x00\x00\x04\x00short"))
	f.Fuzz(func(t *testing.T, data []byte) {
		for name, c := range map[string]*Conn{
			"at once":      New(given{read: bytes.NewReader(data).Read}, most, time.Second),
			"byte by byte": New(given{read: iotest.OneByteReader(bytes.NewReader(data)).Read}, most, time.Second),
		} {
			rest := data
			for {
				got, err := c.Recv()
				whole := len(rest) >= head && binary.BigEndian.Uint32(rest) <= most && len(rest)-head >= int(binary.BigEndian.Uint32(rest))
				large := len(rest) >= head && binary.BigEndian.Uint32(rest) > most
				if (err == nil) != whole || errors.Is(err, ErrTooLarge) != large {
					t.Fatalf("%s: %x: %v", name, rest, err)
				}
				if err != nil {
					break
				}
				n := head + len(got)
				if !bytes.Equal(got, rest[head:n]) {
					t.Fatalf("%s: got %x of %x", name, got, rest)
				}
				rest = rest[n:]
			}
			if cap(c.in) > 2*len(data)+least {
				t.Fatalf("%s: %d bytes are allocated for %d", name, cap(c.in), len(data))
			}
		}
	})
}
