//go:build unix

package netconn

import (
	"net"
	"syscall"
)

// tcpWriter writes to a TCP connection, which the runtime has set to non-blocking mode.
type tcpWriter struct {
	raw syscall.RawConn
	// b is the argument of write, and n its result. They are fields, and write is made once, so that
	// TryWrite does not allocate.
	b     []byte
	n     int
	write func(fd uintptr) bool
}

func tryTCP(c *net.TCPConn) TryWriter {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil
	}
	w := &tcpWriter{raw: raw}
	w.write = func(fd uintptr) bool {
		var err error
		if w.n, err = syscall.Write(int(fd), w.b); err != nil {
			w.n = 0
		}
		return true // do not wait until the connection accepts more
	}
	return w
}

// TryWrite implements TryWriter.
func (w *tcpWriter) TryWrite(b []byte) int {
	w.b, w.n = b, 0
	_ = w.raw.Write(w.write) // the next Write returns the error
	w.b = nil
	return w.n
}
