//go:build !windows

package host

import (
	"os"
	"syscall"
)

// serveSignals are the signals that serve handles: to end, to reload, and to change the log level.
var serveSignals = []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, levelSignal}

// levelSignal switches the log to debug and back.
const levelSignal = syscall.SIGUSR1
