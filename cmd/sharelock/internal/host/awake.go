package host

import (
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"time"
)

// An idle processor sleeps, and waking it takes about 50 µs in a virtual machine. A call
// consists of a few messages between processes, and each message wakes a processor: in a mesh
// that is not at its limit this is most of the latency of a call. Linux lets a process bound the
// latency of waking, for all processors of the machine, as long as it keeps a file open.

const (
	// workInterval is the interval at which a node's work is measured.
	workInterval = time.Second
	// The processors are kept awake from busyCalls calls per interval on, until there are fewer
	// than idleCalls.
	busyCalls = 100
	idleCalls = 50
)

// The values that are written to the device, in µs.
const (
	stayAwake int32 = 0
	// noRequest withdraws the request.
	noRequest int32 = -1
)

// awake keeps the processors from sleeping while a node works.
type awake struct {
	device io.WriteCloser
	// worked returns the number of calls that the node has done so far.
	worked func() uint64
	log    *slog.Logger

	before uint64
	on     bool
}

// keepAwake keeps the processors from sleeping while the node works, until end is called. The
// last request to the device stands until the device is closed.
func keepAwake(device io.WriteCloser, worked func() uint64, log *slog.Logger) (end func()) {
	a := &awake{device: device, worked: worked, log: log, before: worked()}
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(workInterval)
		defer tick.Stop()
		a.run(tick.C, stop)
	}()
	return func() {
		close(stop)
		<-done
	}
}

// run measures the work at each tick.
func (a *awake) run(tick <-chan time.Time, stop <-chan struct{}) {
	for {
		select {
		case <-tick:
			if err := a.look(); err != nil {
				// Closing the device withdraws the request.
				a.log.Warn("processors are not kept awake any more", "error", errors.Join(err, a.device.Close()))
				return
			}
		case <-stop:
			return
		}
	}
}

func (a *awake) look() error {
	now := a.worked()
	work := now - a.before
	a.before = now
	switch {
	case !a.on && work >= busyCalls:
		a.on = true
		return a.say(stayAwake)
	case a.on && work < idleCalls:
		a.on = false
		return a.say(noRequest)
	}
	return nil
}

func (a *awake) say(latency int32) error {
	_, err := a.device.Write(binary.NativeEndian.AppendUint32(nil, uint32(latency))) //nolint:gosec // the bits of a signed number
	return err
}
