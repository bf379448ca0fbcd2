package api

import (
	"fmt"
	"io"
	"net"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/api/refuse"
	"github.com/sgkandale/sharelock/internal/netconn"
	"github.com/sgkandale/sharelock/internal/sessionwire"
	"github.com/sgkandale/sharelock/internal/share"
	pb "github.com/sgkandale/sharelock/proto/sharelock/v1"
	"google.golang.org/grpc/status"
)

// enter takes a place among the sessions of the node, which are shared among hosts. An error in ending
// means that the session must end with it, because a host with fewer sessions needs the place.
func (s *locks) enter(remote net.Addr) (place *share.Place, ending chan error, err error) {
	ending = make(chan error, 1)
	place, _, ok := s.sessions.Take(share.Host(remote), func() { offer(ending, pb.ToStatus(errDisplaced).Err()) })
	if !ok {
		return nil, nil, &sharelock.Error{Err: sharelock.ErrQuota, Message: fmt.Sprintf(
			"the node has %d sessions, the maximum (limits.max_sessions); use another node", s.sessions.Most())}
	}
	return place, ending, nil
}

// errDisplaced ends a session whose place goes to another host.
var errDisplaced = &sharelock.Error{
	Err: sharelock.ErrQuota, Message: "the node has as many sessions as it may (limits.max_sessions), and this host has the most of them; use another node",
}

// offer passes an error to a channel with room for one, unless there is one already.
func offer(to chan<- error, err error) {
	select {
	case to <- err:
	default:
	}
}

// refuseFrames tells a client that its session without gRPC is not served. The client then uses another node.
func refuseFrames(conn net.Conn, st stream, why error) {
	read := make(chan error)
	go func() {
		defer close(read)
		if conn.SetReadDeadline(time.Now().Add(refuse.Patience)) == nil {
			_, _ = io.CopyN(io.Discard, conn, refuse.MaxDrained)
		}
	}()
	farewell(st, func() { halfClose(conn) }, pb.ToStatus(why).Err(), read)
	_ = conn.Close()
	for range read { // until the reader has ended
	}
}

// halfClose tells the other end of a connection that no more data follows.
func halfClose(conn net.Conn) {
	if tcp := netconn.TCP(conn); tcp != nil {
		_ = tcp.CloseWrite() // the connection is closed soon anyway
	}
}

// farewell tells the client of a session without gRPC why the node ends it, if why is a status. Over gRPC
// the end of the stream carries the status. read is closed when the session no longer reads.
func farewell(st stream, halfClose func(), why error, read <-chan error) {
	if _, ok := status.FromError(why); why == nil || !ok || st.Send(sessionwire.AppendClosing(nil, statusBytes(why))) != nil {
		return
	}
	// Closing a connection with unread data resets it, and then the message may be lost.
	halfClose()
	timer := time.NewTimer(refuse.Patience)
	defer timer.Stop()
	for {
		select {
		case _, open := <-read:
			if !open {
				return
			}
		case <-timer.C:
			return
		}
	}
}
