package job

import (
	"encoding/binary"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sgkandale/sharelock/internal/intconv"
)

// The messages between a process and its sentinel: a letter and a number.
const (
	msgReady    = 'r' // from the sentinel: signals no longer end it
	msgSignal   = 's' // from the sentinel: it got this signal
	msgKilled   = 'k' // from the sentinel: the deadline has passed, it kills CMD
	msgGroup    = 'g' // the process group of CMD
	msgDeadline = 'd' // CMD may run until this time of bootTime, in ns
	msgEnd      = 'x' // CMD has ended; there is nothing left to guard
	msgAsk      = 'a' // which signals has the sentinel got? The answer has the same letter and number
)

func message(kind byte, value int64) []byte {
	return binary.LittleEndian.AppendUint64([]byte{kind}, intconv.Bits(value))
}

// parseMessage returns kind 0 if b is not a message.
func parseMessage(b []byte) (kind byte, value int64) {
	if len(b) != 9 {
		return 0, 0
	}
	return b[0], intconv.Signed(binary.LittleEndian.Uint64(b[1:]))
}

// bootTime returns the time of a clock that includes the time in suspend and is the same in all
// processes.
func bootTime() time.Duration {
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) != nil {
		_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts)
	}
	return time.Duration(ts.Nano())
}
