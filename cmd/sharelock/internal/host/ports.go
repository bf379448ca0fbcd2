package host

import (
	"io"
	"net"
)

// ports are sockets that reserve ports, so that the system assigns none of them to a
// connection.
type ports []io.Closer

// hold binds addresses for TCP and UDP. It skips addresses in use: the node that needs one
// reports an error that says what it is for.
func (p *ports) hold(addrs ...string) {
	for _, addr := range addrs {
		if l, err := net.Listen("tcp", addr); err == nil {
			*p = append(*p, l)
		}
		if c, err := net.ListenPacket("udp", addr); err == nil {
			*p = append(*p, c)
		}
	}
}

func (p *ports) free() {
	for _, c := range *p {
		_ = c.Close()
	}
	*p = nil
}
