package link

import (
	"bytes"
	"context"
	"net"
	"time"

	"github.com/sgkandale/sharelock/internal/frame"
	"github.com/sgkandale/sharelock/internal/release"
	"github.com/sgkandale/sharelock/internal/rules"
	"github.com/sgkandale/sharelock/mesh/network"
	"github.com/sgkandale/sharelock/ring"
)

// Frames carries the messages of a link, each way in order: what a member says to another in a
// LinkRequest, and what that one answers in a LinkResponse. Send and Recv may be called at the
// same time, by one goroutine each.
type Frames interface {
	// Send sends one message, and does not keep it.
	Send(frame []byte) error
	// Recv waits for the next one, which is the caller's.
	Recv() ([]byte, error)
	// Close ends both; it may be called again.
	Close() error
}

// silence is how many leases a link may be silent, though it is asked, or take nothing, before it
// is taken for dead: the member at the other end has lost its power, or one of the two its way to
// the other. Otherwise its waiters would seem to listen for hours, and what was sent to it to be
// under way. An idle link pings every idlePings/8 leases.
const silence = 4

// frames are Frames over a stream.
type frames struct{ *frame.Conn }

var _ Frames = frames{}

func newFrames(conn net.Conn, patience time.Duration) frames {
	return frames{frame.New(conn, rules.MaxPeerMessage, patience)}
}

// Recv implements Frames: the owner's operations stay where they are read.
func (f frames) Recv() ([]byte, error) {
	message, err := f.Conn.Recv()
	return bytes.Clone(message), err
}

// dial opens a stream to a member. It ends with ctx.
func (ls *Links) dial(ctx context.Context, to ring.Member) (Frames, error) {
	hello, err := Hello{
		Releases: ls.cfg.Releases, Cluster: ls.cfg.Cluster(), To: to.Identity.String(), From: ls.cfg.Self.String(),
	}.Append(nil)
	if err != nil {
		return nil, err
	}
	dialing, cancel := context.WithTimeout(ctx, ls.cfg.Views.Lease()/4)
	defer cancel()
	conn, err := ls.cfg.Dial(dialing, to.Peer)
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
	var f Frames = &dialled{frames: newFrames(conn, silence*ls.cfg.Views.Lease()), conn: conn, releases: ls.cfg.Releases}
	if ls.cfg.Wrap != nil {
		f = ls.cfg.Wrap(to.Peer, f)
	}
	return f, nil
}

// dialled are the frames of a link that was dialled. The answer to the hello is read with the
// first frame that comes: what is sent before is of the view's release, which both sides know, so
// nothing waits for a round trip.
type dialled struct {
	frames
	conn     net.Conn
	releases release.Range
	answered bool // only the goroutine that receives uses it
}

// Recv implements Frames.
func (d *dialled) Recv() ([]byte, error) {
	if !d.answered {
		if _, err := ReadAnswer(d.conn, d.releases); err != nil {
			return nil, err
		}
		d.answered = true
	}
	return d.frames.Recv()
}
