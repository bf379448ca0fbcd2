//go:build unix

package job

import (
	"context"
	"fmt"
	"os"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/client"
	"github.com/sgkandale/sharelock/internal/virtual"
)

// fakeLock is a lock that the test ends.
type fakeLock struct {
	mu   sync.Mutex
	ends time.Time
	err  error
	done chan struct{}
	// taken is the owner's answer about the lock, checking how long it takes.
	taken    error
	checking time.Duration
}

func newLock(ttl time.Duration) *fakeLock {
	return &fakeLock{ends: time.Now().Add(ttl), done: make(chan struct{})}
}

func (l *fakeLock) renew(ttl time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ends = time.Now().Add(ttl)
}

// lose ends the lock, unless err is nil: then the lock's remaining time is over, as after a suspend.
func (l *fakeLock) lose(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ends = time.Time{}
	if err != nil {
		l.err = err
		close(l.done)
	}
}

func (l *fakeLock) Check(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(l.checking):
	}
	if l.taken != nil {
		l.lose(l.taken)
	}
	return l.taken
}

func (l *fakeLock) Done() <-chan struct{} { return l.done }

func (l *fakeLock) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

func (l *fakeLock) Remaining() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return max(time.Until(l.ends), 0)
}

// fakeProcess records its signals and ends by those in endBy.
type fakeProcess struct {
	start time.Time
	endBy syscall.Signal
	// after is how long it takes to end.
	after time.Duration
	ends  chan struct{}
	stops chan syscall.Signal
	// resting is how long this process is stopped together with CMD.
	resting time.Duration
	once    sync.Once

	mu  sync.Mutex
	log []string
}

func newProcess(endBy syscall.Signal, after time.Duration) *fakeProcess {
	return &fakeProcess{start: time.Now(), endBy: endBy, after: after, ends: make(chan struct{}), stops: make(chan syscall.Signal)}
}

func (p *fakeProcess) note(what string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.log = append(p.log, fmt.Sprintf("%v %s", time.Since(p.start), what))
}

func (p *fakeProcess) did() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log
}

func (p *fakeProcess) end() { p.once.Do(func() { close(p.ends) }) }

func (p *fakeProcess) exited() <-chan struct{}        { return p.ends }
func (p *fakeProcess) stopped() <-chan syscall.Signal { return p.stops }
func (p *fakeProcess) control() <-chan os.Signal      { return nil }
func (p *fakeProcess) pass(os.Signal) step            { return carryOn }

func (p *fakeProcess) follow(sig syscall.Signal) step {
	if sig == syscall.SIGTTIN {
		p.note("give")
		return resumeCMD
	}
	p.note("suspend")
	time.Sleep(p.resting)
	return checkLock
}

func (p *fakeProcess) resume() { p.note("resume") }

func (p *fakeProcess) allow(remaining func() time.Duration) time.Duration { return remaining() }

func (p *fakeProcess) signal(sig syscall.Signal) {
	p.note(sig.String())
	switch sig {
	case syscall.SIGKILL:
		p.end()
	case p.endBy:
		time.AfterFunc(p.after, p.end)
	}
}

func (p *fakeProcess) finish(bool) ending { return ending{} }

func TestGuard(t *testing.T) {
	const ttl = 10 * time.Second
	none := syscall.Signal(0)
	stale := fmt.Errorf("%w: %w", client.ErrLost, sharelock.ErrStaleToken)
	forced := fmt.Errorf("%w: %w: by hand", client.ErrLost, client.ErrForced)
	for _, test := range []struct {
		name string
		// endBy and after: how CMD reacts.
		endBy syscall.Signal
		after time.Duration
		// meanwhile is what happens at the same time.
		meanwhile func(l *fakeLock, p *fakeProcess, signals chan<- os.Signal)
		lost      bool
		want      []string
		took      time.Duration
	}{
		{
			name:      "ends by itself",
			meanwhile: func(_ *fakeLock, p *fakeProcess, _ chan<- os.Signal) { time.AfterFunc(3*time.Second, p.end) },
			took:      3 * time.Second,
		},
		{
			name: "renewed for a minute",
			meanwhile: func(l *fakeLock, p *fakeProcess, _ chan<- os.Signal) {
				for i := range 20 {
					time.AfterFunc(time.Duration(i)*3*time.Second, func() { l.renew(ttl) })
				}
				time.AfterFunc(time.Minute, p.end)
			},
			took: time.Minute,
		},
		{
			name: "not renewed, obeys", endBy: syscall.SIGTERM, after: time.Second,
			lost: true, want: []string{"7.5s terminated", "7.5s resume"}, took: 8500 * time.Millisecond,
		},
		{
			name: "not renewed, does not obey", endBy: none,
			lost: true, want: []string{"7.5s terminated", "7.5s resume", "9.75s killed"}, took: 9750 * time.Millisecond,
		},
		{
			name: "renewed after all, does not obey", endBy: none,
			meanwhile: func(l *fakeLock, _ *fakeProcess, _ chan<- os.Signal) {
				time.AfterFunc(8*time.Second, func() { l.renew(ttl) })
			},
			lost: true, want: []string{"7.5s terminated", "7.5s resume", "9.75s killed"}, took: 9750 * time.Millisecond,
		},
		{
			name: "taken away by force, does not obey", endBy: none,
			meanwhile: func(l *fakeLock, _ *fakeProcess, _ chan<- os.Signal) {
				time.AfterFunc(2*time.Second, func() { l.lose(forced) })
			},
			lost: true, want: []string{"2s terminated", "2s resume", "3s killed"}, took: 3 * time.Second,
		},
		{
			name: "taken away, does not obey", endBy: none,
			meanwhile: func(l *fakeLock, _ *fakeProcess, _ chan<- os.Signal) {
				time.AfterFunc(2*time.Second, func() { l.lose(stale) })
			},
			lost: true, want: []string{"2s terminated", "2s resume", "3s killed"}, took: 3 * time.Second,
		},
		{
			name: "slept too long", endBy: none,
			meanwhile: func(l *fakeLock, _ *fakeProcess, _ chan<- os.Signal) {
				// No timer fires: the clock is ahead of all timers.
				time.AfterFunc(2500*time.Millisecond, func() { l.lose(nil) })
			},
			lost: true, want: []string{"3s killed"}, took: 3 * time.Second,
		},
		{
			name: "signals are passed on", endBy: syscall.SIGINT,
			meanwhile: func(_ *fakeLock, _ *fakeProcess, signals chan<- os.Signal) {
				time.AfterFunc(time.Second, func() { signals <- syscall.SIGUSR1 })
				time.AfterFunc(2*time.Second, func() { signals <- syscall.SIGINT })
			},
			want: []string{"1s user defined signal 1", "2s interrupt"}, took: 2 * time.Second,
		},
		{
			name: "signals are passed on to the condemned", endBy: syscall.SIGQUIT,
			meanwhile: func(_ *fakeLock, _ *fakeProcess, signals chan<- os.Signal) {
				time.AfterFunc(8*time.Second, func() { signals <- syscall.SIGQUIT })
			},
			lost: true, want: []string{"7.5s terminated", "7.5s resume", "8s quit"}, took: 8 * time.Second,
		},
		{
			name: "stopped by job control",
			meanwhile: func(_ *fakeLock, p *fakeProcess, _ chan<- os.Signal) {
				time.AfterFunc(time.Second, func() { p.stops <- syscall.SIGTSTP })
				time.AfterFunc(2*time.Second, p.end)
			},
			want: []string{"1s suspend", "1s resume"}, took: 2 * time.Second,
		},
		{
			name: "stopped by job control for too long", endBy: none,
			meanwhile: func(_ *fakeLock, p *fakeProcess, _ chan<- os.Signal) {
				p.resting = 20 * time.Second
				time.AfterFunc(time.Second, func() { p.stops <- syscall.SIGTSTP })
			},
			// It does not continue even for a moment.
			lost: true, want: []string{"1s suspend", "21s killed"}, took: 21 * time.Second,
		},
		{
			name: "taken away by force while stopped", endBy: syscall.SIGTERM,
			meanwhile: func(l *fakeLock, p *fakeProcess, _ chan<- os.Signal) {
				p.resting, l.taken = time.Second, stale
				time.AfterFunc(time.Second, func() { p.stops <- syscall.SIGTSTP })
			},
			// SIGTERM first, so that CMD gets it where it was stopped.
			lost: true, want: []string{"1s suspend", "2s terminated", "2s resume"}, took: 2 * time.Second,
		},
		{
			name: "stopped by job control, no answer",
			meanwhile: func(l *fakeLock, p *fakeProcess, _ chan<- os.Signal) {
				p.resting, l.checking = time.Second, time.Hour
				time.AfterFunc(time.Second, func() { p.stops <- syscall.SIGTSTP })
				time.AfterFunc(4*time.Second, p.end)
			},
			want: []string{"1s suspend", "3s resume"}, took: 4 * time.Second,
		},
		{
			name: "given the terminal", // this process was not stopped, so there is nothing to check
			meanwhile: func(l *fakeLock, p *fakeProcess, _ chan<- os.Signal) {
				l.checking = time.Hour
				time.AfterFunc(time.Second, func() { p.stops <- syscall.SIGTTIN })
				time.AfterFunc(2*time.Second, p.end)
			},
			want: []string{"1s give", "1s resume"}, took: 2 * time.Second,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			virtual.Test(t, func(t *testing.T) {
				l, p, signals := newLock(ttl), newProcess(test.endBy, test.after), make(chan os.Signal, 4)
				if test.meanwhile != nil {
					test.meanwhile(l, p, signals)
				}
				lost := guard(l, p, signals, timesOf(ttl))
				if lost != test.lost {
					t.Errorf("got lost %v, want %v", lost, test.lost)
				}
				if got := time.Since(p.start); got != test.took {
					t.Errorf("took %v, want %v", got, test.took)
				}
				if !slices.Equal(p.did(), test.want) {
					t.Errorf("got %q, want %q", p.did(), test.want)
				}
				time.Sleep(time.Hour) // let the remaining timers fire
			})
		})
	}
}

// There is time between the two signals, and the second comes before the lock can
// be lost, for every TTL.
func TestTimes(t *testing.T) {
	for _, ttl := range []time.Duration{sharelock.MinTTL, time.Second, 30 * time.Second, time.Minute, 24 * time.Hour} {
		times := timesOf(ttl)
		// The client renews after a third.
		if times.kill <= 0 || times.term <= 2*times.kill || times.term >= ttl/2 || times.taken <= 0 || times.taken > ttl/10 {
			t.Errorf("%v: got %+v", ttl, times)
		}
	}
}
