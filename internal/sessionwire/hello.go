package sessionwire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"

	"github.com/sgkandale/sharelock"
)

// A session without gRPC (see LockService.Session) begins with a hello of the client:
//
//	"SLSN" | version 1 | 19 zero bytes
//
// It is as long as the preface of HTTP/2, so that a server that only knows HTTP/2 refuses it at
// once. The node answers with the first five bytes. After that both sides send messages, each a
// frame of package frame. Another port of a node sends this answer and closes the connection:
//
//	"SLSN" | version 0 | length 2, big endian | text
const (
	// SessionMagic is the beginning of such a stream; HTTP/2 never begins with it.
	SessionMagic = "SLSN"
	// Protocol is the name of such a stream in ALPN.
	Protocol       = "sharelock/1"
	sessionVersion = 1
	helloLen       = 24
	welcomeLen     = len(SessionMagic) + 1
)

// refusal is the version in the answer of a port that does not serve sessions, and maxRefusal the
// maximum size of its text in bytes.
const (
	refusal    = 0
	maxRefusal = 1 << 10
)

// MaxSessionFrame is the maximum size of a message of such a session in bytes.
const MaxSessionFrame = sharelock.MaxMessageBytes

// ErrNoSession: the other end uses a different protocol or a different version.
var ErrNoSession = errors.New("not a ShareLock session")

// AppendHello appends the hello of a client.
func AppendHello(b []byte) []byte {
	return append(AppendWelcome(b), make([]byte, helloLen-welcomeLen)...)
}

// AppendWelcome appends the node's answer to a hello.
func AppendWelcome(b []byte) []byte { return append(append(b, SessionMagic...), sessionVersion) }

// AppendWrongPort appends the answer of a port that does not serve sessions; the text says what the
// port is.
func AppendWrongPort(b []byte, text string) []byte {
	text = text[:min(len(text), maxRefusal)]
	b = append(append(b, SessionMagic...), refusal)
	return append(binary.BigEndian.AppendUint16(b, uint16(len(text)&math.MaxUint16)), text...)
}

// ReadHello reads the rest of a hello after the magic, and no further byte. The error wraps
// [ErrNoSession] if the hello has a different version.
func ReadHello(r io.Reader) error {
	b := [helloLen]byte{}
	n := copy(b[:], SessionMagic)
	if _, err := io.ReadFull(r, b[n:]); err != nil {
		return err
	}
	return checkHello(b[:])
}

// ReadWelcome reads the answer to a hello, and no further byte. The error wraps [ErrNoSession] if
// the answer is not that of a node, or sharelock.ErrWrongPort if it is that of another port of a
// node. It is io.EOF if there is no answer.
func ReadWelcome(r io.Reader) error {
	var b [welcomeLen]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return err
	}
	if string(b[:len(SessionMagic)]) == SessionMagic && b[len(SessionMagic)] == refusal {
		return readWrongPort(r)
	}
	return checkHello(b[:])
}

// readWrongPort reads the rest of an answer of [AppendWrongPort] after the version.
func readWrongPort(r io.Reader) error {
	var size [2]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return err
	}
	n := binary.BigEndian.Uint16(size[:])
	if n > maxRefusal {
		return fmt.Errorf("%w: a refusal of %d bytes", ErrNoSession, n)
	}
	text := make([]byte, n)
	if _, err := io.ReadFull(r, text); err != nil {
		return err
	}
	return &sharelock.Error{Err: sharelock.ErrWrongPort, Message: strings.ToValidUTF8(string(text), "?")}
}

func checkHello(b []byte) error {
	if string(b[:len(SessionMagic)]) != SessionMagic {
		return fmt.Errorf("%w, but %q", ErrNoSession, b)
	}
	if v := b[len(SessionMagic)]; v != sessionVersion {
		return fmt.Errorf("%w: version %d, this release knows %d", ErrNoSession, v, sessionVersion)
	}
	return nil
}
