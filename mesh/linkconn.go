package mesh

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/sgkandale/sharelock/internal/frame"
	"github.com/sgkandale/sharelock/internal/release"
	"github.com/sgkandale/sharelock/mesh/network"
	"github.com/sgkandale/sharelock/ring"
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
	linkMagic   = "SLLK"
	linkForm    = 2
	maxMemberID = 128
	// maxHelloMore bounds what later releases may add to a hello.
	maxHelloMore = 1 << 10
)

// Frames carries the messages of a link, each way in order: what a member says to
// another in a LinkRequest, and what that one answers in a LinkResponse. Send and
// Recv may be called at the same time, by one goroutine each.
type Frames interface {
	// Send sends one message, and does not keep it.
	Send(frame []byte) error
	// Recv waits for the next one, which is the caller's.
	Recv() ([]byte, error)
	// Close ends both; it may be called again.
	Close() error
}

// linkSilence is how many leases a link may be silent, though it is asked, or take
// nothing, before it is taken for dead: the member at the other end has lost its power,
// or one of the two its way to the other. Otherwise its waiters would seem to listen for
// hours, and what was sent to it to be under way. An idle link pings every idlePings/8
// leases.
const linkSilence = 4

// frames are Frames over a stream.
type frames struct{ *frame.Conn }

var _ Frames = frames{}

func newFrames(conn net.Conn, patience time.Duration) frames {
	return frames{frame.New(conn, maxPeerMessage, patience)}
}

// Recv implements Frames: the owner's operations stay where they are read.
func (f frames) Recv() ([]byte, error) {
	message, err := f.Conn.Recv()
	return bytes.Clone(message), err
}

// linkHello is what a link's hello says.
type linkHello struct {
	releases release.Range
	cluster  []byte
	to, from string
}

func (h linkHello) append(b []byte) ([]byte, error) {
	if len(h.cluster) == 0 || len(h.cluster) > maxClusterID {
		return b, fmt.Errorf("%w: a cluster id of %d bytes", errPreamble, len(h.cluster))
	}
	b = append(b, linkMagic...)
	b = append(b, linkForm)
	b = appendRange(b, h.releases)
	b = append(b, byte(len(h.cluster)))
	b = append(b, h.cluster...)
	for _, id := range []string{h.to, h.from} {
		if len(id) == 0 || len(id) > maxMemberID {
			return b, fmt.Errorf("%w: a member id of %d bytes", errPreamble, len(id))
		}
		b = append(b, byte(len(id)))
		b = append(b, id...)
	}
	return append(b, 0, 0), nil
}

func appendRange(b []byte, r release.Range) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(r.Oldest))
	return binary.BigEndian.AppendUint16(b, uint16(r.Newest))
}

func readRange(b []byte) release.Range {
	return release.Range{Oldest: uint32(binary.BigEndian.Uint16(b)), Newest: uint32(binary.BigEndian.Uint16(b[2:]))}
}

// readLinkHello reads what follows the magic, and not a byte more.
func readLinkHello(r io.Reader) (h linkHello, err error) {
	var form [1]byte
	if _, err := io.ReadFull(r, form[:]); err != nil {
		return h, err
	}
	switch form[0] {
	case linkForm:
	case 1:
		return h, fmt.Errorf("%w: the other side is %v, this program is %v", errRelease, release.Range{}, release.Own())
	default:
		return h, fmt.Errorf("%w: a hello of form %d", errPreamble, form[0])
	}
	var ends [4]byte
	if _, err := io.ReadFull(r, ends[:]); err != nil {
		return h, err
	}
	h.releases = readRange(ends[:])
	if h.cluster, err = readPreambleID(r, "cluster", maxClusterID); err != nil {
		return h, err
	}
	to, err := readPreambleID(r, "member", maxMemberID)
	if err != nil {
		return h, err
	}
	from, err := readPreambleID(r, "member", maxMemberID)
	if err != nil {
		return h, err
	}
	h.to, h.from = string(to), string(from)
	var more [2]byte
	if _, err := io.ReadFull(r, more[:]); err != nil {
		return h, err
	}
	n := int64(binary.BigEndian.Uint16(more[:]))
	if n > maxHelloMore {
		return h, fmt.Errorf("%w: %d bytes more in a hello", errPreamble, n)
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
		n, err = 0, fmt.Errorf("%w: the other side is %v, this program is %v", errRelease, theirs, own)
	}
	b = append(b, linkMagic...)
	b = binary.BigEndian.AppendUint16(b, uint16(n))
	return appendRange(b, own), err
}

// readHelloAnswer returns the release of the link.
func readHelloAnswer(r io.Reader, own release.Range) (uint32, error) {
	var b [len(linkMagic) + 6]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return 0, fmt.Errorf("the hello was not answered: %w", err)
	}
	if string(b[:len(linkMagic)]) != linkMagic {
		return 0, fmt.Errorf("%w: %q answers a hello", errPreamble, b[:len(linkMagic)])
	}
	n := uint32(binary.BigEndian.Uint16(b[len(linkMagic):]))
	if theirs := readRange(b[len(linkMagic)+2:]); !own.Has(n) {
		return 0, fmt.Errorf("%w: the other side is %v, this program is %v", errRelease, theirs, own)
	}
	return n, nil
}

// linkStream is a link's stream that came in, after its hello and the answer.
type linkStream struct {
	net.Conn
	from string
}

// dialLink opens a link to a member. It ends with ctx.
func (n *Node) dialLink(ctx context.Context, to ring.Member) (Frames, error) {
	hello, err := linkHello{
		releases: n.program(), cluster: n.clusterID(), to: to.Identity.String(), from: n.self.String(),
	}.append(nil)
	if err != nil {
		return nil, err
	}
	dialing, cancel := context.WithTimeout(ctx, n.lease()/4)
	defer cancel()
	conn, err := n.network.Dial(dialing, to.Peer)
	if err != nil {
		return nil, err
	}
	network.ResetOnClose(conn)
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	deadline, _ := dialing.Deadline()
	if err = conn.SetWriteDeadline(deadline); err == nil {
		_, err = conn.Write(hello)
	}
	if err != nil {
		stop()
		_ = conn.Close()
		return nil, err
	}
	var f Frames = &dialled{frames: newFrames(conn, linkSilence*n.lease()), conn: conn, program: n.program()}
	if n.cfg.Links != nil {
		f = n.cfg.Links(to.Peer, f)
	}
	return f, nil
}

// dialled are the frames of a link that was dialled. The answer to the hello is read with
// the first frame that comes: what is sent before is of the view's release, which both sides
// know, so nothing waits for a round trip.
type dialled struct {
	frames
	conn     net.Conn
	program  release.Range
	answered bool // belongs to who receives
}

// Recv implements Frames.
func (d *dialled) Recv() ([]byte, error) {
	if !d.answered {
		if _, err := readHelloAnswer(d.conn, d.program); err != nil {
			return nil, err
		}
		d.answered = true
	}
	return d.frames.Recv()
}
