package mesh

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/sgkandale/sharelock/proto/frame"
	"github.com/sgkandale/sharelock/ring"
)

// A link's stream begins with a preamble, after which each side sends frames:
//
//	"SLLK" | version 1 | n 1 | cluster id n | m 1 | to m | k 1 | from k
//	length 4, big-endian | a LinkRequest, or from the other side a LinkResponse
//
// To and from are members as they are printed, with their incarnation: a stream for
// another process than the one that listens is refused (A1).
const (
	linkMagic   = "SLLK"
	linkVersion = 1
	maxMemberID = 128
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

// linkHello is what a link's preamble says.
type linkHello struct {
	cluster  []byte
	to, from string
}

func (h linkHello) append(b []byte) ([]byte, error) {
	if len(h.cluster) == 0 || len(h.cluster) > maxClusterID {
		return b, fmt.Errorf("%w: a cluster id of %d bytes", errPreamble, len(h.cluster))
	}
	b = append(b, linkMagic...)
	b = append(b, linkVersion, byte(len(h.cluster)))
	b = append(b, h.cluster...)
	for _, id := range []string{h.to, h.from} {
		if len(id) == 0 || len(id) > maxMemberID {
			return b, fmt.Errorf("%w: a member id of %d bytes", errPreamble, len(id))
		}
		b = append(b, byte(len(id)))
		b = append(b, id...)
	}
	return b, nil
}

// readLinkHello reads what follows the magic, and not a byte more.
func readLinkHello(r io.Reader) (h linkHello, err error) {
	var version [1]byte
	if _, err := io.ReadFull(r, version[:]); err != nil {
		return h, err
	}
	if version[0] != linkVersion {
		return h, fmt.Errorf("%w: version %d, this release knows %d", errPreamble, version[0], linkVersion)
	}
	if h.cluster, err = readPreambleID(r, "cluster", maxClusterID); err != nil {
		return h, err
	}
	to, err := readPreambleID(r, "member", maxMemberID)
	if err != nil {
		return h, err
	}
	from, err := readPreambleID(r, "member", maxMemberID)
	h.to, h.from = string(to), string(from)
	return h, err
}

// linkStream is a link's stream that came in, after its preamble.
type linkStream struct {
	net.Conn
	from string
}

// dialLink opens a link to a member. It ends with ctx.
func (n *Node) dialLink(ctx context.Context, to ring.Member) (Frames, error) {
	hello, err := linkHello{cluster: n.clusterID(), to: to.Identity.String(), from: n.self.String()}.append(nil)
	if err != nil {
		return nil, err
	}
	dialing, cancel := context.WithTimeout(ctx, n.lease()/4)
	defer cancel()
	conn, err := n.network.Dial(dialing, to.Peer)
	if err != nil {
		return nil, err
	}
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
	var f Frames = newFrames(conn, linkSilence*n.lease())
	if n.cfg.Links != nil {
		f = n.cfg.Links(to.Peer, f)
	}
	return f, nil
}
