package watch

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/event"
	"github.com/sgkandale/sharelock/internal/pace"
	"github.com/sgkandale/sharelock/internal/wake"
	"github.com/sgkandale/sharelock/mesh/epoch"
	"github.com/sgkandale/sharelock/owner"
	"github.com/sgkandale/sharelock/ring"
)

// A watch that cannot read retries after leastPause, and then after twice as long each time, up to
// mostPause.
const (
	leastPause = 50 * time.Millisecond
	mostPause  = time.Second
)

// readAtOnce is how many partitions a watch of a prefix reads with one request.
const readAtOnce = 32

// A watcher is one watch. Sources use its inbox, too; only the goroutine of run uses the other
// fields.
type watcher struct {
	inbox
	hub    *Hub
	target owner.Target
	// cursor is where the caller wants to continue; it is empty once that was tried.
	cursor string

	// view is the view in which the watch is synced, or nil if it has to begin again. before is the
	// view before that.
	view, before *epoch.View
	feeds        []*feed
	// inSync is set once everything was read.
	inSync bool
	// pause is how long the last pause was, and retry when it ends.
	pause time.Duration
	retry time.Time
	// trouble is the last error that the caller was told about.
	trouble string

	// pace determines how long the reader rests after a delivery, and quiet is when the rest ends.
	// resting is set if the budget counts the reader as resting.
	pace    pace.Pace
	quiet   time.Time
	resting bool
	// lag is how long a reader that was too slow waits before it begins again, and lagged is when
	// it was last too slow.
	lag    time.Duration
	lagged time.Time
}

// A feed is the state of a watch with regard to one source.
type feed struct {
	from *source
	// rest are the partitions still to be read, asked those that are being read, and read is the id
	// of that read.
	rest, asked []uint32
	read        uint64
}

func newWatcher(h *Hub, r sharelock.WatchRequest) *watcher {
	w := &watcher{hub: h, target: owner.Target{Key: r.Key, Prefix: r.Prefix}, cursor: r.Resume}
	w.wake, w.told = wake.New(), r.Resume != ""
	w.budget, w.pace = &h.budget, pace.Pace{Credit: credit}
	return w
}

// end ends the watch.
func (w *watcher) end() {
	w.detach()
	w.inbox.close()
	w.rests(0)
}

// detach detaches the watch from its sources.
func (w *watcher) detach() {
	for _, f := range w.feeds {
		f.from.detach(w, f.read)
	}
	w.feeds = nil
}

// run sends events to the caller until the caller or this node has gone.
func (w *watcher) run(ctx context.Context, send func([]*event.Event) error) error {
	ping := time.NewTicker(pingInterval)
	defer ping.Stop()
	again := time.NewTimer(0)
	defer again.Stop()
	for {
		changed := w.hub.cfg.Views.Changed()
		if err := w.hub.cfg.Ready(); err != nil {
			return err
		}
		if next, err := w.turn(send); err != nil {
			return err
		} else if wait := time.Until(next); !next.IsZero() {
			again.Reset(max(wait, 0))
		}
		select {
		case <-w.wake:
		case <-changed:
		case <-again.C:
		case <-ping.C:
			e := about(sharelock.Ping, w.target.Key, "")
			if w.inSync && w.view != nil {
				e.Cursor, _ = w.place()
			}
			w.put(e)
		case <-w.hub.cfg.Leaving:
			return &sharelock.Error{Err: sharelock.ErrNotReady, Message: "the node leaves the mesh"}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// turn sends what has arrived to the caller, unless the reader rests. It returns the latest time of
// the next turn; the zero time means that the next turn is when something arrives.
func (w *watcher) turn(send func([]*event.Event) error) (next time.Time, err error) {
	for now := time.Now(); !now.Before(w.quiet); now = time.Now() {
		t := w.take()
		if len(t.events) > 0 {
			if err := send(t.events); err != nil {
				return next, err
			}
			w.rests(w.pace.Spend(time.Now(), w.budget.cost(len(t.events))))
		}
		if !w.step(t, time.Now()) {
			if now.Before(w.retry) {
				return w.retry, nil
			}
			return time.Time{}, nil
		}
	}
	return w.quiet, nil
}

// step advances the watch after its inbox was emptied. It reports whether it has put something into
// the inbox, or may have.
func (w *watcher) step(t taken, now time.Time) bool {
	v := w.hub.cfg.Views.Now()
	if w.view != nil && (v.Epoch != w.view.Epoch || t.full || t.broken) {
		w.lose(t)
		return true
	}
	for _, r := range t.ended {
		w.readEnded(r)
	}
	switch {
	case now.Before(w.retry):
		return false
	case w.view == nil:
		w.open(v)
		return true
	default:
		return w.readOn()
	}
}

// lose makes the watch begin again and tells the caller why. If the view has changed, open tells
// the caller instead.
func (w *watcher) lose(t taken) {
	w.detach()
	w.before, w.view = w.view, nil
	why := "the reader is too slow"
	if t.broken {
		w.rest()
		why = "the owner could not be followed"
	} else if t.full {
		w.lags(time.Now())
	}
	if t.full || t.broken {
		w.hub.resets.Add(1)
		w.begun(sharelock.Reset, why)
	}
}

// begun tells the caller that the watch begins again, if it was told anything, or in any case if
// the owner has changed.
func (w *watcher) begun(kind sharelock.EventType, why string) {
	w.takeBack(about(kind, w.target.Key, why), kind == sharelock.Moved)
}

// rest begins a pause.
func (w *watcher) rest() {
	w.pause = min(max(2*w.pause, leastPause), mostPause)
	w.retry = time.Now().Add(w.pause)
}

// moved returns the reason to tell the caller if the owners of what is watched have changed, or "".
func (w *watcher) moved(v *epoch.View) string {
	if w.target.Key != "" {
		p := v.Partition(w.target.Key)
		was, _ := w.before.Ring.Owner(p)
		is, _ := v.Ring.Owner(p)
		if was.Identity == is.Identity {
			return ""
		}
		return fmt.Sprintf("%s owns it now", is.Name)
	}
	n := 0
	for p := range v.Ring.Partitions() {
		was, _ := w.before.Ring.Owner(p)
		if is, _ := v.Ring.Owner(p); was.Identity != is.Identity {
			n++
		}
	}
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("%d of %d partitions have another owner now", n, v.Ring.Partitions())
}

// open attaches the watch to the owners of what it watches.
func (w *watcher) open(v *epoch.View) {
	w.view, w.inSync = v, false
	w.begin(v.Epoch)
	if w.before != nil && v.Epoch != w.before.Epoch {
		if moved := w.moved(v); moved != "" {
			w.begun(sharelock.Moved, moved)
		} else {
			w.begun(sharelock.Reset, "the view of the mesh has changed")
		}
	}
	if w.cursor != "" && !w.mayResume(v) {
		w.begun(sharelock.Reset, lostPlace)
		w.cursor = ""
	}
	for _, m := range v.Members {
		var parts []uint32
		if w.target.Key == "" {
			parts = v.Ring.Owned(m.Identity)
		} else if p := v.Partition(w.target.Key); owns(v, m.Identity, p) {
			parts = []uint32{p}
		}
		if len(parts) == 0 {
			continue
		}
		s, err := w.hub.source(v, m)
		if err == nil && s.attach(w) {
			w.feeds = append(w.feeds, &feed{from: s, rest: parts})
			continue
		}
		w.complain(err)
		w.broke()
		return
	}
}

// mayResume reports whether the watch may continue from the caller's cursor.
func (w *watcher) mayResume(v *epoch.View) bool {
	at, ok := owner.ParseCursor(w.cursor)
	return ok && w.target.Key != "" && at.Epoch == v.Epoch
}

// complain tells the caller why the watch cannot deliver events, once for each reason, and reports
// whether it did so. It does that with a reset, so the watch must begin again.
func (w *watcher) complain(err error) bool {
	if err == nil || errors.Is(err, owner.ErrBehind) || err.Error() == w.trouble {
		return false
	}
	w.trouble = err.Error()
	w.takeBack(about(sharelock.Reset, w.target.Key, w.trouble), true)
	return true
}

// readEnded handles the end of a read. If the read failed after it had shown keys of a partition,
// the watch begins again with a reset, because these keys may be gone when the partition is read
// again. It also begins again if complain has told the caller the error.
func (w *watcher) readEnded(r endedRead) {
	for _, f := range w.feeds {
		if f.from != r.from {
			continue
		}
		rest, shown := w.unread(f.asked)
		f.rest = append(rest, f.rest...)
		f.asked, f.read = nil, 0
		if r.err == nil {
			continue
		}
		w.rest()
		if w.complain(r.err) || shown {
			w.detach()
			w.before, w.view = w.view, nil
			w.takeBack(about(sharelock.Reset, w.target.Key, r.err.Error()), false)
		}
		return
	}
}

// readOn asks for what has not been read yet. When everything was read it queues a synced event,
// and reports that.
func (w *watcher) readOn() (put bool) {
	all := true
	for _, f := range w.feeds {
		if f.read == 0 && len(f.rest) > 0 {
			w.ask(f)
		}
		all = all && f.read == 0
	}
	if !all || w.inSync {
		return false
	}
	w.inSync, w.pause, w.trouble = true, 0, ""
	e := about(sharelock.Synced, w.target.Key, "")
	at, quarantined := w.place()
	if e.Cursor = at; quarantined > 0 {
		e.Reason = fmt.Sprintf("the state of %d partitions was lost, so that holds may exist that are not shown", quarantined)
	}
	w.put(e)
	return true
}

// ask reads the next partitions of a feed.
func (w *watcher) ask(f *feed) {
	n := min(len(f.rest), readAtOnce)
	f.asked, f.rest = f.rest[:n:n], f.rest[n:]
	r := owner.Read{Epoch: w.view.Epoch, Target: w.target, Partitions: f.asked}
	if at, ok := owner.ParseCursor(w.cursor); ok {
		r.Resume, r.After = true, at.Seq
		w.resume()
		w.cursor = ""
	}
	w.expect(f.asked)
	f.read = f.from.read(w, r)
}

// owns reports whether a member owns a partition.
func owns(v *epoch.View, m ring.Identity, p uint32) bool {
	o, ok := v.Ring.Owner(p)
	return ok && o.Identity == m
}
