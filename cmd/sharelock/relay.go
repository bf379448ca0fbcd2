package main

import (
	"os"
	"sync"
	"syscall"
	"time"
)

// echoTime is how long a signal that asks a process to end is held back before it is
// passed on to CMD: so long it takes at most until its sender has sent it to everybody
// it is for. It merges what comes twice, too: GNU timeout sends its signal to the process
// and then to its group.
//
// Nothing tells sooner. The runtime does not pass on who sent a signal, and si_pid would not say
// to whom else it was sent; a process leaves no trace of a signal that it has handled, so CMD
// cannot be asked; and the sentinel is sent its own after ours as often as before it.
const echoTime = 250 * time.Millisecond

// relay passes signals of this process on to CMD, so that CMD gets one where a process
// without a lock would get one. What was sent to every process about, to a whole control
// group for example, CMD has got by itself; that the sentinel has, too, tells.
type relay struct {
	out chan os.Signal
	end chan struct{}

	// received are all the signals so far; it belongs to run until that has ended.
	received map[os.Signal]bool
	working  sync.WaitGroup
}

func newRelay(in <-chan os.Signal, witnessed <-chan syscall.Signal) *relay {
	r := &relay{out: make(chan os.Signal), end: make(chan struct{}), received: map[os.Signal]bool{}}
	r.working.Go(func() { r.run(in, witnessed) })
	return r
}

// stop ends the relay. It reports whether a signal has come.
func (r *relay) stop() (received func(os.Signal) bool) {
	close(r.end)
	r.working.Wait()
	return func(sig os.Signal) bool { return r.received[sig] }
}

func (r *relay) run(in <-chan os.Signal, witnessed <-chan syscall.Signal) {
	var (
		queue []os.Signal // what CMD is to get now
		held  = map[os.Signal]time.Time{}
		seen  = map[os.Signal]time.Time{}
	)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		var out chan os.Signal
		var first os.Signal
		if len(queue) > 0 {
			out, first = r.out, queue[0]
		}
		select {
		case out <- first:
			queue = queue[1:]
		case sig := <-in:
			r.received[sig] = true
			_, twice := held[sig]
			switch last, echo := seen[sig]; {
			case !ends(sig):
				queue = append(queue, sig)
			case twice, echo && time.Since(last) < echoTime:
			default:
				held[sig] = time.Now().Add(echoTime)
				timer.Reset(nearest(held))
			}
		case sig := <-witnessed:
			seen[sig] = time.Now()
			delete(held, sig)
		case <-timer.C:
			for sig, at := range held {
				if time.Until(at) <= 0 {
					delete(held, sig)
					queue = append(queue, sig)
				}
			}
			timer.Reset(nearest(held))
		case <-r.end:
			return
		}
	}
}

// nearest is how long it is until the first of the times.
func nearest(times map[os.Signal]time.Time) time.Duration {
	wait := time.Hour
	for _, at := range times {
		wait = min(wait, time.Until(at))
	}
	return wait
}
