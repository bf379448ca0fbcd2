package link

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"net"

	"github.com/sgkandale/sharelock/internal/frame"
	"github.com/sgkandale/sharelock/internal/intconv"
	"github.com/sgkandale/sharelock/internal/release"
	"github.com/sgkandale/sharelock/internal/rules"
)

// A link's stream begins with a hello, which the other side answers; then each side sends
// frames:
//
//	"SLLK" | form 2 | oldest 2 | newest 2 | n 1 | cluster id n | m 1 | to m | k 1 | from k | x 2 | more x
//	"SLLK" | release 2 | oldest 2 | newest 2
//	length 4, big-endian | a LinkRequest, or from the other side a LinkResponse
//
// To and from are members as they are printed, with their incarnation: a stream for
// another process than the one that listens is refused (A1). Oldest and newest are the
// releases that a side works with (W1), and release the highest that both do, or 0 for a
// refusal. More is for later releases and is skipped; so the form never changes again. Form
// 1 is that of builds from before release 1.
const (
	// Magic is what a link's stream begins with.
	Magic       = "SLLK"
	helloForm   = 2
	maxMemberID = 128
	// maxHelloMore bounds what later releases may add to a hello.
	maxHelloMore = 1 << 10
)

// What can be wrong with a stream that says that it is a link's.
var (
	errHello   = errors.New("bad preamble")
	errForeign = errors.New("stream of another cluster, or for another process")
	// errNeedsTLS: see peerport.NeedsTLS.
	errNeedsTLS = errors.New("the member takes streams with TLS only, and this node has none between members (tls.members)")
)

// tlsAlert is the first byte of an alert of TLS.
const tlsAlert = 0x15

// Hello is what the side that dials says first.
type Hello struct {
	// Releases are those that it works with (W1).
	Releases release.Range
	// Cluster is the id of its cluster.
	Cluster []byte
	// To and From are members, as they are printed.
	To, From string
}

// Append appends the hello to b, with its magic.
func (h Hello) Append(b []byte) ([]byte, error) {
	if len(h.Cluster) == 0 || len(h.Cluster) > rules.MaxClusterID {
		return b, fmt.Errorf("%w: a cluster id of %d bytes", errHello, len(h.Cluster))
	}
	b = append(b, Magic...)
	b = append(b, helloForm)
	b = appendRange(b, h.Releases)
	b = append(b, intconv.Uint8(len(h.Cluster)))
	b = append(b, h.Cluster...)
	for _, id := range []string{h.To, h.From} {
		if len(id) == 0 || len(id) > maxMemberID {
			return b, fmt.Errorf("%w: a member id of %d bytes", errHello, len(id))
		}
		b = append(b, intconv.Uint8(len(id)))
		b = append(b, id...)
	}
	return append(b, 0, 0), nil
}

func appendRange(b []byte, r release.Range) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(min(r.Oldest, math.MaxUint16)))
	return binary.BigEndian.AppendUint16(b, uint16(min(r.Newest, math.MaxUint16)))
}

func readRange(b []byte) release.Range {
	return release.Range{Oldest: uint32(binary.BigEndian.Uint16(b)), Newest: uint32(binary.BigEndian.Uint16(b[2:]))}
}

// readHello reads what follows the magic, and not a byte more.
func readHello(r io.Reader) (h Hello, err error) {
	var form [1]byte
	if _, err := io.ReadFull(r, form[:]); err != nil {
		return h, err
	}
	switch form[0] {
	case helloForm:
	case 1:
		return h, fmt.Errorf("%w: the other side is %v, this program is %v", release.ErrMismatch, release.Range{}, release.Own())
	default:
		return h, fmt.Errorf("%w: a hello of form %d", errHello, form[0])
	}
	var ends [4]byte
	if _, err := io.ReadFull(r, ends[:]); err != nil {
		return h, err
	}
	h.Releases = readRange(ends[:])
	if h.Cluster, err = frame.ReadID(r, "cluster", rules.MaxClusterID, errHello); err != nil {
		return h, err
	}
	to, err := frame.ReadID(r, "member", maxMemberID, errHello)
	if err != nil {
		return h, err
	}
	from, err := frame.ReadID(r, "member", maxMemberID, errHello)
	if err != nil {
		return h, err
	}
	h.To, h.From = string(to), string(from)
	var more [2]byte
	if _, err := io.ReadFull(r, more[:]); err != nil {
		return h, err
	}
	n := int64(binary.BigEndian.Uint16(more[:]))
	if n > maxHelloMore {
		return h, fmt.Errorf("%w: %d bytes more in a hello", errHello, n)
	}
	_, err = io.CopyN(io.Discard, r, n)
	return h, err
}

// appendHelloAnswer appends the answer to the hello of a program with these releases, and
// returns an error if there is no link.
func appendHelloAnswer(b []byte, theirs, own release.Range) ([]byte, error) {
	n, ok := own.Common(theirs)
	var err error
	if !ok {
		n, err = 0, fmt.Errorf("%w: the other side is %v, this program is %v", release.ErrMismatch, theirs, own)
	}
	b = append(b, Magic...)
	b = binary.BigEndian.AppendUint16(b, uint16(n))
	return appendRange(b, own), err
}

// ReadAnswer reads the answer to a hello, and returns the release of the link. own are the releases
// that this program works with.
func ReadAnswer(r io.Reader, own release.Range) (uint32, error) {
	var b [len(Magic) + 6]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		if b[0] == tlsAlert {
			return 0, errNeedsTLS
		}
		return 0, fmt.Errorf("the hello was not answered: %w", err)
	}
	if string(b[:len(Magic)]) != Magic {
		return 0, fmt.Errorf("%w: %q answers a hello", errHello, b[:len(Magic)])
	}
	n := uint32(binary.BigEndian.Uint16(b[len(Magic):]))
	if theirs := readRange(b[len(Magic)+2:]); !own.Has(n) {
		return 0, fmt.Errorf("%w: the other side is %v, this program is %v", release.ErrMismatch, theirs, own)
	}
	return n, nil
}

// Stream is a link's stream that came in, after its hello and the answer.
type Stream struct {
	net.Conn
	from string
}

// From returns the member at the other end, as it is printed.
func (s *Stream) From() string { return s.from }

// Accept reads the hello of a stream that has begun with Magic, which was read, and answers it.
// own are the releases that this program works with. A stream that is not meant for this process
// is refused: meant is asked about the cluster, and about the member to which it says it goes.
func Accept(conn net.Conn, own release.Range, meant func(cluster []byte, to string) bool) (*Stream, error) {
	h, err := readHello(conn)
	if err != nil {
		return nil, err
	}
	if !meant(h.Cluster, h.To) {
		return nil, fmt.Errorf("%w: cluster %x, member %q", errForeign, h.Cluster, h.To)
	}
	answer, refused := appendHelloAnswer(nil, h.Releases, own)
	if _, err := conn.Write(answer); err != nil || refused != nil {
		return nil, errors.Join(refused, err)
	}
	return &Stream{Conn: conn, from: h.From}, nil
}
