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
// and then to its group. After that the sentinel is asked what it got, which may have had no
// processor since; answerTime is how long it may take to say so.
//
// Nothing tells sooner. The runtime does not pass on who sent a signal, and si_pid would not say
// to whom else it was sent; a process leaves no trace of a signal that it has handled, so CMD
// cannot be asked; and the sentinel is sent its own after ours as often as before it.
const (
	echoTime   = 250 * time.Millisecond
	answerTime = 5 * time.Second
)

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

// witness tells which signals were sent to every process about.
type witness interface {
	signals() <-chan witnessed
	ask(number int64) bool
}

// witnessed is a signal that a sentinel got or, without one, its answer to this question: it has
// told all signals that were sent to it before it was asked.
type witnessed struct {
	sig    syscall.Signal
	answer int64
}

// held is a signal that is held back.
type held struct {
	until time.Time
	// question is the number of the question about it; 0 until it is asked.
	question int64
}

func newRelay(in <-chan os.Signal, w witness) *relay {
	r := &relay{out: make(chan os.Signal), end: make(chan struct{}), received: map[os.Signal]bool{}}
	r.working.Go(func() { r.run(in, w) })
	return r
}

// stop ends the relay. It reports whether a signal has come.
func (r *relay) stop() (received func(os.Signal) bool) {
	close(r.end)
	r.working.Wait()
	return func(sig os.Signal) bool { return r.received[sig] }
}

func (r *relay) run(in <-chan os.Signal, w witness) {
	var (
		queue     []os.Signal // what CMD is to get now
		back      = map[os.Signal]held{}
		seen      = map[os.Signal]time.Time{}
		questions int64
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
			_, twice := back[sig]
			switch last, echo := seen[sig]; {
			case !ends(sig):
				queue = append(queue, sig)
			case twice, echo && time.Since(last) < echoTime:
			default:
				back[sig] = held{until: time.Now().Add(echoTime)}
				timer.Reset(nearest(back))
			}
		case got := <-w.signals():
			if got.sig != 0 {
				seen[got.sig] = time.Now()
				delete(back, got.sig)
				continue
			}
			for sig, h := range back {
				if h.question > 0 && h.question <= got.answer {
					delete(back, sig)
					queue = append(queue, sig)
				}
			}
		case <-timer.C:
			for sig, h := range back {
				if time.Until(h.until) > 0 {
					continue
				}
				if questions++; h.question == 0 && w.ask(questions) {
					back[sig] = held{until: time.Now().Add(answerTime), question: questions}
					continue
				}
				delete(back, sig)
				queue = append(queue, sig)
			}
			timer.Reset(nearest(back))
		case <-r.end:
			return
		}
	}
}

// nearest is how long it is until the first of the times.
func nearest(back map[os.Signal]held) time.Duration {
	wait := time.Hour
	for _, h := range back {
		wait = min(wait, time.Until(h.until))
	}
	return wait
}
