package link

import (
	"context"
	"errors"
	"log/slog"
	"runtime"
	"time"

	"github.com/sgkandale/sharelock/internal/release"
)

// run serves the link until it is closed: one stream after the other.
func (l *Link) run() {
	pause, said := firstPause, false
	for l.ctx.Err() == nil {
		began := l.links.cfg.Clock()
		if err := l.stream(); err != nil && l.ctx.Err() == nil {
			level := slog.LevelDebug
			if (errors.Is(err, release.ErrMismatch) || errors.Is(err, errNeedsTLS)) && !said {
				level, said = slog.LevelError, true // no member is admitted that speaks another (W2)
			}
			l.links.cfg.Log.Log(l.ctx, level, "link broke", "member", l.to.Name, "error", err)
		}
		// A caller that is answered Retry sends again, to the owner in the newest view.
		l.fail()
		if pause = min(2*pause, mostPause); l.links.cfg.Clock()-began > time.Second {
			pause = firstPause
		}
		select {
		case <-l.ctx.Done():
		case <-time.After(pause):
		}
	}
	l.fail()
}

// The pauses before a link that broke is opened again.
const (
	firstPause = 5 * time.Millisecond
	mostPause  = 100 * time.Millisecond
)

// stream opens a stream and works until it breaks.
func (l *Link) stream() error {
	ctx, cancel := context.WithCancel(l.ctx)
	defer cancel()
	f, err := l.links.dial(ctx, l.to)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // it is broken already
	l.reopened()
	broken := make(chan error, 1)
	if !l.links.cfg.Spawn(func() {
		err := l.read(f)
		_ = f.Close() // the sender gets an error
		broken <- err
	}) {
		return errClosed
	}
	every := l.links.cfg.Views.Lease() / 8
	ping := time.NewTicker(every)
	defer ping.Stop()
	var (
		frame   []byte
		resting bool // there was nothing to ask when the last ping was due
	)
	for {
		if frame = l.take(frame[:0]); len(frame) == 0 {
			select {
			case <-l.wake:
				runtime.Gosched() // goroutines that are about to send something come first (A4)
				continue
			case <-ping.C:
				if !l.expects() && !resting {
					resting = true
					ping.Reset(idlePings * every)
					continue
				}
				if l.pinged() > 8*silence {
					_ = f.Close()
					return errors.Join(errSilent, <-broken)
				}
				frame = appendPing(frame)
			case err := <-broken:
				return err
			}
		}
		if resting {
			resting = false
			ping.Reset(every)
		}
		if err := f.Send(frame); err != nil {
			_ = f.Close()
			return errors.Join(err, <-broken)
		}
		if cap(frame) > maxBatchBytes {
			frame = nil
		}
	}
}

// idlePings is how many pings are left out while there is nothing to ask. That one comes at all
// tells the other end that this one is there: see silence.
const idlePings = 16

// errSilent: nothing was heard on a link for silence.
var errSilent = errors.New("the member does not answer pings")

// read delivers answers and acknowledgements until the stream breaks.
func (l *Link) read(f Frames) error {
	var m responseFrame
	for {
		frame, err := f.Recv()
		if err == nil {
			err = m.read(frame, l.to.Name)
		}
		if err != nil {
			return err
		}
		var now time.Duration
		if len(m.replies) > 0 || m.pong {
			now = l.links.cfg.Clock()
		}
		l.heard(now, m.pong)
		for i := range m.replies {
			m.replies[i].answer.At = now
			l.answer(&m.replies[i])
		}
		if a := l.links.cfg.Views.Now(); a != nil && len(m.acks) > 0 {
			a.Service.Acked(l.to.Identity, m.epoch, m.acks)
		}
	}
}

// reopened forgets the operations that wait, and has all that are not confirmed sent again: some may
// have been lost with the stream before.
func (l *Link) reopened() {
	l.mu.Lock()
	l.entries, l.pings, l.pinging = nil, 0, 0
	l.mu.Unlock()
	if a := l.links.cfg.Views.Now(); a != nil {
		a.Service.LinkUp(l.to.Identity)
	}
}

// heard notes that the member is there. pong says that it has answered a ping.
func (l *Link) heard(now time.Duration, pong bool) {
	l.mu.Lock()
	l.waiting, l.pings = 0, 0
	if pong && l.pinging != 0 {
		l.rtt, l.pinging = now-l.pinging, 0
	}
	l.mu.Unlock()
}

// expects reports whether something was sent, and nothing was heard since.
func (l *Link) expects() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.waiting != 0 || l.pings > 0
}

// pinged counts a ping that is sent, and returns how many were since something was heard.
func (l *Link) pinged() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pings++
	if l.pinging == 0 {
		l.pinging = l.links.cfg.Clock()
	}
	return l.pings
}

// stuck reports whether nothing was heard of the member since before a time though requests were
// sent to it, and somebody still waits (V6): a request is unanswered, or was sent again of late and
// is between two attempts.
func (l *Link) stuck(before time.Duration) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.waiting != 0 && l.waiting < before && (len(l.refs) > 0 || l.asked > before)
}
