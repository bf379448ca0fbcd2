//go:build !linux

package mesh

import (
	"net"
	"time"
)

// setUserTimeout does nothing where the system has no such option: resetOnClose alone
// discards what links have not sent.
func setUserTimeout(*net.TCPConn, time.Duration) {}
