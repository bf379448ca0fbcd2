package main

import (
	"encoding/binary"
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
	workEvery = 100 * time.Millisecond
	// muchWork, in so much time, has the processors kept awake: a hundred items a second.
	// A node whose clients just hold their locks has less.
	muchWork = 10
	// restAfter so many looks in a row with less they may sleep.
	restAfter = 10
)

// The two things that can be said to the device, in µs.
const (
	stayAwake int32 = 0
	// asBefore withdraws what was said.
	asBefore int32 = -1
)

// awake keeps the processors from sleeping while a node works.
type awake struct {
	device io.Writer
	// worked counts what the node has done.
	worked func() uint64
	log    *slog.Logger

	before uint64
	on     bool
	quiet  int // looks in a row without much work
}

// keepAwake does so until end is called. What was said to the device then stands until it
// is closed.
func keepAwake(device io.Writer, worked func() uint64, log *slog.Logger) (end func()) {
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
				a.log.Warn("processors are not kept awake any more", "error", err)
				return
			}
		case <-stop:
			return
		}
	}
}

func (a *awake) look() error {
	now := a.worked()
	much := now-a.before >= muchWork
	a.before = now
	if much {
		a.quiet = 0
	} else {
		a.quiet++
	}
	switch {
	case much && !a.on:
		a.on = true
		return a.say(stayAwake)
	case a.on && a.quiet == restAfter:
		a.on = false
		return a.say(asBefore)
	}
	return nil
}

func (a *awake) say(latency int32) error {
	_, err := a.device.Write(binary.NativeEndian.AppendUint32(nil, uint32(latency)))
	return err
}
