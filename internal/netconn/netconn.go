// Package netconn finds the connection below its wrappers. Layers wrap connections: to count them, to
// read their first bytes, to encrypt them. Each layer has a method NetConn, like that of
// [crypto/tls.Conn], which returns the connection below it.
package netconn

import (
	"crypto/tls"
	"net"
)

// TCP returns the TCP connection below another one, or nil.
func TCP(conn net.Conn) *net.TCPConn {
	for {
		switch c := conn.(type) {
		case *net.TCPConn:
			return c
		case interface{ NetConn() net.Conn }:
			conn = c.NetConn()
		default:
			return nil
		}
	}
}

// TLS returns the state of a connection that has TLS, also below other layers; ok is false if it
// has none.
func TLS(conn net.Conn) (state tls.ConnectionState, ok bool) {
	for {
		switch c := conn.(type) {
		case interface{ ConnectionState() tls.ConnectionState }:
			return c.ConnectionState(), true
		case interface{ NetConn() net.Conn }:
			conn = c.NetConn()
		default:
			return state, false
		}
	}
}
