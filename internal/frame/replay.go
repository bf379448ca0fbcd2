package frame

import "net"

// Replay returns conn with head, which was read already to detect the protocol, in front: reads return
// head first. Reads are not safe for concurrent use.
func Replay(conn net.Conn, head []byte) net.Conn { return &replay{Conn: conn, head: head} }

type replay struct {
	net.Conn
	head []byte
}

// Read implements net.Conn.
func (r *replay) Read(p []byte) (int, error) {
	if len(r.head) == 0 {
		return r.Conn.Read(p)
	}
	n := copy(p, r.head)
	r.head = r.head[n:]
	return n, nil
}

// NetConn returns conn, like the method of crypto/tls.Conn.
func (r *replay) NetConn() net.Conn { return r.Conn }
