//go:build !unix

package netconn

import "net"

func tryTCP(*net.TCPConn) TryWriter { return nil }
