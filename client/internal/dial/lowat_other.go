//go:build !linux

package dial

import "net"

// limitUnsent bounds what the system takes of a stream before it can be sent, so that urgent
// messages stand behind little.
func limitUnsent(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetWriteBuffer(2 * MaxUnsent) // if not, urgent messages may be late
	}
}
