package host

import (
	"os"
	"syscall"
)

// serveSignals are the signals that serve handles: to end, and to reload.
var serveSignals = []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP}

// levelSignal is a signal that is never sent.
const levelSignal = syscall.Signal(-1)
