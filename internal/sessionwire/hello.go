package sessionwire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/sgkandale/sharelock"
)

// A session without gRPC, see LockService.Session: the client begins with
//
//	"SLSN" | version 1 | 19 zero bytes
//
// which is as long as what HTTP/2 begins with, so that a server that knows nothing else
// refuses it at once. The node answers with the first five bytes. Both go on with
// messages, each a frame of package frame. Another port of a node answers, and closes:
//
//	"SLSN" | version 0 | length 2, big endian | text
const (
	// SessionMagic is what such a stream begins with; HTTP/2 never does.
	SessionMagic   = "SLSN"
	sessionVersion = 1
	helloLen       = 24
	welcomeLen     = len(SessionMagic) + 1
)

// refusal is the version in the answer of a port that has no sessions, and maxRefusal the
// most bytes of its text.
const (
	refusal    = 0
	maxRefusal = 1 << 10
)

// MaxSessionFrame is the most bytes that a message of such a session has.
const MaxSessionFrame = sharelock.MaxMessageBytes

// ErrNoSession: the other end speaks something else, or another version.
var ErrNoSession = errors.New("no session is spoken")

// AppendHello appends what the client of a session begins with, AppendWelcome the
// node's answer.
func AppendHello(b []byte) []byte {
	return append(AppendWelcome(b), make([]byte, helloLen-welcomeLen)...)
}

// AppendWelcome appends the node's answer to a hello.
func AppendWelcome(b []byte) []byte { return append(append(b, SessionMagic...), sessionVersion) }

// AppendWrongPort appends the answer of a port that has no sessions: what it is.
func AppendWrongPort(b []byte, text string) []byte {
	text = text[:min(len(text), maxRefusal)]
	b = append(append(b, SessionMagic...), refusal)
	return append(binary.BigEndian.AppendUint16(b, uint16(len(text))), text...)
}

// ReadHello reads what follows the magic of a hello, and not a byte more. The error
// wraps [ErrNoSession] if it is of another version.
func ReadHello(r io.Reader) error {
	b := [helloLen]byte{}
	n := copy(b[:], SessionMagic)
	if _, err := io.ReadFull(r, b[n:]); err != nil {
		return err
	}
	return checkHello(b[:])
}

// ReadWelcome reads the answer to a hello, and not a byte more. The error wraps
// [ErrNoSession] if it is something else, sharelock.ErrWrongPort if it is another port of a
// node, and is io.EOF if it is nothing.
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

// readWrongPort reads what follows the version of an answer by [AppendWrongPort].
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
