package job

import (
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/sgkandale/sharelock/internal/virtual"
)

// fakeWitness answers a question after a time. If it got a signal, it reports that before the answer.
type fakeWitness struct {
	out            chan witnessed
	absent, silent bool
	after          time.Duration
	got            syscall.Signal
}

func (w *fakeWitness) signals() <-chan witnessed { return w.out }

func (w *fakeWitness) ask(number int64) bool {
	if w.absent {
		return false
	}
	if w.silent {
		return true
	}
	time.AfterFunc(w.after, func() {
		if w.got != 0 {
			w.out <- witnessed{sig: w.got}
		}
		w.out <- witnessed{answer: number}
	})
	return true
}

// A signal is forwarded when the sentinel has reported that it did not get it, however long that takes.
func TestRelayAsks(t *testing.T) {
	for _, test := range []struct {
		name string
		w    fakeWitness
		// after is when CMD gets the signal, 0 if it does not.
		after time.Duration
	}{
		{"no sentinel", fakeWitness{absent: true}, echoTime},
		{"for this process", fakeWitness{after: time.Millisecond}, echoTime + time.Millisecond},
		{"for everybody, a slow sentinel", fakeWitness{after: 2 * time.Second, got: syscall.SIGTERM}, 0},
		{"for this process, a slow sentinel", fakeWitness{after: 2 * time.Second}, echoTime + 2*time.Second},
		{"another signal for everybody", fakeWitness{after: time.Second, got: syscall.SIGINT}, echoTime + time.Second},
		{"a sentinel that hangs", fakeWitness{silent: true}, echoTime + answerTime},
	} {
		t.Run(test.name, func(t *testing.T) {
			virtual.Test(t, func(t *testing.T) {
				w := test.w
				w.out = make(chan witnessed, 4)
				in, start := make(chan os.Signal, 1), time.Now()
				r := newRelay(in, &w)
				in <- syscall.SIGTERM
				var after time.Duration
				select {
				case <-r.out:
					after = time.Since(start)
				case <-time.After(time.Minute):
				}
				if after != test.after {
					t.Errorf("CMD got it after %v, want %v", after, test.after)
				}
				if received := r.stop(); !received(syscall.SIGTERM) || received(syscall.SIGINT) {
					t.Error("the relay does not know what has come")
				}
			})
		})
	}
}
