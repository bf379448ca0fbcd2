//go:build !linux

package network

import (
	"net"
	"time"
)

// setUserTimeout does nothing where the system has no such option: ResetOnClose alone
// discards what links have not sent.
func setUserTimeout(*net.TCPConn, time.Duration) {}
