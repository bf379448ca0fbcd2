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

// A watch that cannot read tries again after leastPause, and then after twice as long each time, up
// to mostPause.
const (
	leastPause = 50 * time.Millisecond
	mostPause  = time.Second
)

// readAtOnce is how many partitions a watch of a prefix reads with one request.
const readAtOnce = 32

// A watcher is one watch. Its inbox belongs to the sources, too; the other fields to the goroutine
// of run.
type watcher struct {
	inbox
	hub    *Hub
	target owner.Target
	// cursor is where the caller wants to go on; empty once that was tried.
	cursor string

	// view is the view in which the watch is synced, or nil if it has to begin afresh; before is
	// the last one.
	view, before *epoch.View
	feeds        []*feed
	// inSync is set once everything was read.
	inSync bool
	// pause is how long the last pause was, and retry when it ends.
	pause time.Duration
	retry time.Time
	// trouble is the last error that the caller was told.
	trouble string

	// pace says how long the reader rests after it was told something, and quiet until when it
	// does. resting is set if the budget counts it as resting.
	pace    pace.Pace
	quiet   time.Time
	resting bool
	// lag is how long the reader waits before it begins afresh because it is too slow, and
	// lagged when it was too slow last.
	lag    time.Duration
	lagged time.Time
}

// A feed is what a watch has of one source.
type feed struct {
	from *source
	// rest are the partitions to be read, and asked those that are being read, by the read of that
	// id.
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

// run tells the caller what happens until the caller or this node has gone.
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

// turn tells the caller what has come, unless the reader rests. It returns when the next turn is at
// the latest; the zero time is when something comes.
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

// step does what is to be done after an inbox was emptied. It reports whether that has put
// something into the inbox.
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
		return w.goOn()
	}
}

// lose makes the watch begin afresh, and says why, unless the view has changed: open says that.
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

// begun tells the caller that the watch begins afresh, if there is anything to take back.
func (w *watcher) begun(kind sharelock.EventType, why string) {
	w.takeBack(about(kind, w.target.Key, why), kind == sharelock.Moved)
}

// rest begins a pause.
func (w *watcher) rest() {
	w.pause = min(max(2*w.pause, leastPause), mostPause)
	w.retry = time.Now().Add(w.pause)
}

// moved returns what to say if another member owns what is watched than before, or "".
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

// mayResume reports whether the watch may go on from the caller's cursor.
func (w *watcher) mayResume(v *epoch.View) bool {
	at, ok := owner.ParseCursor(w.cursor)
	return ok && w.target.Key != "" && at.Epoch == v.Epoch
}

// complain tells the caller why nothing can be told, once for each reason, and reports whether it has.
// That takes back whatever was told, so the watch must begin afresh.
func (w *watcher) complain(err error) bool {
	if err == nil || errors.Is(err, owner.ErrBehind) || err.Error() == w.trouble {
		return false
	}
	w.trouble = err.Error()
	w.takeBack(about(sharelock.Reset, w.target.Key, w.trouble), true)
	return true
}

// readEnded takes notice of the end of a read. What a read that failed has shown of a partition is
// taken back, since its keys may be gone when the partition is read again, and so is everything when
// the caller is told why nothing can be told, which it is once.
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

// goOn asks for what has not been read yet. When everything was read it says so.
func (w *watcher) goOn() (put bool) {
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
