//go:build !linux

package api

import (
	"net"
	"time"
)

// limitUnacknowledged is left to the system, which gives up later.
func limitUnacknowledged(*net.TCPConn, time.Duration) error { return nil }

// limitUnsent bounds what the system takes of a stream before it can be sent, so that urgent
// messages stand behind little.
func limitUnsent(conn *net.TCPConn) error { return conn.SetWriteBuffer(2 * fullMessage) }
