package main

import (
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"time"
)

// A processor with nothing to do sleeps, and waking it costs some 50 µs in a virtual
// machine. A call is a few messages from process to process, each of which wakes one: in
// a mesh that is not at its limit this is most of what a call takes. Linux lets a process
// bound what waking may cost, for all processors of the machine and as long as it keeps a
// file open.

const (
	// workEvery is how often a node's work is looked at.
	workEvery = time.Second
	// From muchWork in so much time the processors are kept awake, until it is less than
	// littleWork.
	muchWork   = 100
	littleWork = 50
)

// The two things that can be said to the device, in µs.
const (
	stayAwake int32 = 0
	// asBefore withdraws what was said.
	asBefore int32 = -1
)

// awake keeps the processors from sleeping while a node works.
type awake struct {
	device io.WriteCloser
	// worked counts what the node has done.
	worked func() uint64
	log    *slog.Logger

	before uint64
	on     bool
}

// keepAwake does so until end is called. Then what was said to the device stands until it is
// closed.
func keepAwake(device io.WriteCloser, worked func() uint64, log *slog.Logger) (end func()) {
	a := &awake{device: device, worked: worked, log: log, before: worked()}
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(workEvery)
		defer tick.Stop()
		a.run(tick.C, stop)
	}()
	return func() {
		close(stop)
		<-done
	}
}

// run looks at each tick.
func (a *awake) run(tick <-chan time.Time, stop <-chan struct{}) {
	for {
		select {
		case <-tick:
			if err := a.look(); err != nil {
				// Closing it withdraws what was said.
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
	case !a.on && work >= muchWork:
		a.on = true
		return a.say(stayAwake)
	case a.on && work < littleWork:
		a.on = false
		return a.say(asBefore)
	}
	return nil
}

func (a *awake) say(latency int32) error {
	_, err := a.device.Write(binary.NativeEndian.AppendUint32(nil, uint32(latency)))
	return err
}
