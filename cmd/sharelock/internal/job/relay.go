package job

import (
	"maps"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"
)

// echoTime is how long a signal that would end a process is held back before it is forwarded
// to CMD. By then its sender has sent it to all processes that it is for. A signal that comes twice
// in this time counts as one: GNU timeout sends its signal to the process and then to its group.
// After echoTime the sentinel is asked which signals it got. It may not have had CPU time yet;
// answerTime bounds the wait for its answer.
//
// There is no faster way. The runtime does not report the sender of a signal, and si_pid would not
// tell which other processes got it. CMD cannot be asked, because a process leaves no trace of a
// signal that it has handled. And the sentinel's own signal comes after ours as often as before it.
const (
	echoTime   = 250 * time.Millisecond
	answerTime = 5 * time.Second
)

// relay forwards signals of this process to CMD, so that CMD gets one signal where a process
// without a lock would get one. A signal that was sent to every process, for example to a whole
// control group, has reached CMD directly; relay recognises it because the sentinel got it, too.
type relay struct {
	out     chan os.Signal
	end     chan struct{}
	working sync.WaitGroup

	// Only run may use the rest; received also stop, when run has ended.

	// received is the set of all signals so far.
	received map[os.Signal]bool
	// queue holds the signals that are to be sent to CMD now.
	queue []os.Signal
	// back holds the signals that are held back.
	back map[os.Signal]held
	// seen is when the sentinel last got each signal.
	seen map[os.Signal]time.Time
	// questions is the number of the last question to the sentinel.
	questions int64
}

// witness reports signals that were sent to every process. It is implemented by sentinel.
type witness interface {
	signals() <-chan witnessed
	ask(number int64) bool
}

// witnessed is a signal that a sentinel got. If sig is 0, it is the answer to the question with
// this number: the sentinel has reported all signals that were sent to it before the question.
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
	r := &relay{
		out: make(chan os.Signal), end: make(chan struct{}),
		received: map[os.Signal]bool{}, back: map[os.Signal]held{}, seen: map[os.Signal]time.Time{},
	}
	r.working.Go(func() { r.run(in, w) })
	return r
}

// stop ends the relay. The returned function reports whether a signal was received.
func (r *relay) stop() (received func(os.Signal) bool) {
	close(r.end)
	r.working.Wait()
	return func(sig os.Signal) bool { return r.received[sig] }
}

func (r *relay) run(in <-chan os.Signal, w witness) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		var out chan os.Signal
		var first os.Signal
		if len(r.queue) > 0 {
			out, first = r.out, r.queue[0]
		}
		select {
		case out <- first:
			r.queue = r.queue[1:]
		case sig := <-in:
			r.take(sig)
			timer.Reset(nearest(r.back))
		case got := <-w.signals():
			r.hear(got)
		case <-timer.C:
			r.decide(w)
			timer.Reset(nearest(r.back))
		case <-r.end:
			return
		}
	}
}

// take queues a signal of this process, or holds it back if it would end the process.
func (r *relay) take(sig os.Signal) {
	r.received[sig] = true
	_, twice := r.back[sig]
	switch last, echo := r.seen[sig]; {
	case !endsProcess(sig) || counts(sig):
		r.queue = append(r.queue, sig)
	case twice, echo && time.Since(last) < echoTime:
	default:
		r.back[sig] = held{until: time.Now().Add(echoTime)}
	}
}

// hear handles what the sentinel reports.
func (r *relay) hear(got witnessed) {
	if got.sig != 0 {
		r.seen[got.sig] = time.Now()
		delete(r.back, got.sig)
		return
	}
	r.queue = append(r.queue, unwitnessed(r.back, got.answer)...)
}

// decide asks the sentinel about the signals that were held back long enough. It queues those that it
// cannot ask about, or for which no answer came in time.
func (r *relay) decide(w witness) {
	for _, sig := range inOrder(r.back) {
		h := r.back[sig]
		if time.Until(h.until) > 0 {
			continue
		}
		if r.questions++; h.question == 0 && w.ask(r.questions) {
			r.back[sig] = held{until: time.Now().Add(answerTime), question: r.questions}
			continue
		}
		delete(r.back, sig)
		r.queue = append(r.queue, sig)
	}
}

// unwitnessed takes from back the signals whose question is answered: the sentinel did not get them.
func unwitnessed(back map[os.Signal]held, answer int64) (list []os.Signal) {
	for _, sig := range inOrder(back) {
		if h := back[sig]; h.question > 0 && h.question <= answer {
			delete(back, sig)
			list = append(list, sig)
		}
	}
	return list
}

// inOrder returns the signals that are held back, in the order in which they came.
func inOrder(back map[os.Signal]held) []os.Signal {
	return slices.SortedFunc(maps.Keys(back), func(a, b os.Signal) int { return back[a].until.Compare(back[b].until) })
}

// nearest returns the time until the earliest of the deadlines.
func nearest(back map[os.Signal]held) time.Duration {
	wait := time.Hour
	for _, h := range back {
		wait = min(wait, time.Until(h.until))
	}
	return wait
}
