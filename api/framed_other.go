//go:build !linux

package api

import (
	"net"
	"time"
)

// limitUnacknowledged does nothing: the system gives up by itself, but later.
func limitUnacknowledged(*net.TCPConn, time.Duration) error { return nil }

// limitUnsent bounds the data that the system buffers before it can be sent, so that urgent
// messages wait behind little data.
func limitUnsent(conn *net.TCPConn) error { return conn.SetWriteBuffer(2 * fullMessage) }
