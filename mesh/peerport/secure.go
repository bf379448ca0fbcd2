package peerport

import (
	"errors"
	"fmt"
	"io"
	"net"
)

// NeedsTLS is the answer to a stream without TLS where there must be TLS: an alert of TLS, fatal,
// about the protocol's version. No protocol of the peer port begins an answer like that.
const NeedsTLS = "\x15\x03\x03\x00\x02\x02\x46"

// insecure returns why no TLS was made of a stream, and tells the other end if it did not begin
// with TLS.
func (p *Port) insecure(conn net.Conn, err error) error {
	if errors.Is(err, io.EOF) {
		return errNothing // it has said nothing
	}
	if !errors.Is(err, p.secure.Plain) {
		return err
	}
	// Closing a stream with unread data resets it, and then the answer may be lost.
	_, _ = conn.Read(make([]byte, 4<<10))
	_, _ = conn.Write([]byte(NeedsTLS)) // it is closed anyway
	return fmt.Errorf("%w: this node has TLS between members, and who sent it has not (tls.members)", err)
}
