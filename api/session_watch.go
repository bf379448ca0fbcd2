package api

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/event"
	"github.com/sgkandale/sharelock/internal/sessionwire"
	pb "github.com/sgkandale/sharelock/proto/sharelock/v1"
)

const (
	// maxWatches is the maximum number of watches of a session.
	maxWatches = 1000
	// maxEvents is the maximum size in bytes of a message of events, so that what is urgent does not wait
	// long behind one. A single event may exceed it.
	maxEvents = 16 << 10
)

var (
	errWatches   = &sharelock.Error{Err: sharelock.ErrQuota, Message: fmt.Sprintf("the session has %d watches, the maximum", maxWatches)}
	errSameWatch = sharelock.Invalid("watch.id", "is that of another watch of the session")
)

// watches are the watches of a session. Each has a goroutine. What they tell is one message at a time,
// which is sent when nothing else is waiting; while it is full they wait. Meanwhile the node keeps a
// bounded number of events for each watch, and resets it beyond that.
type watches struct {
	// ctx ends with the session.
	ctx  context.Context //nolint:containedctx // the lifetime of the watches
	stop context.CancelFunc
	// turn has a value while no watch is filling the message. taken has one after the message was taken
	// for sending.
	turn, taken chan struct{}
	// work counts the goroutines.
	work sync.WaitGroup

	// running are the watches whose end is not in the message yet, by id; guarded by session.mu.
	running map[uint64]*running
	// message is what is sent next; nil while a watch is filling it. Guarded by session.mu.
	message []byte
}

// running is one watch.
type running struct {
	id     uint64
	cancel context.CancelCauseFunc
	// ahead is how many events may be sent that the client has not read, and sent how many of them there
	// are; guarded by session.mu. room has a value after the client has read some.
	ahead, sent uint32
	room        chan struct{}
}

func newWatches(ctx context.Context) *watches {
	w := &watches{turn: make(chan struct{}, 1), taken: make(chan struct{}, 1), running: map[uint64]*running{}}
	w.ctx, w.stop = context.WithCancel(ctx)
	w.turn <- struct{}{}
	return w
}

// next returns the message of events that is sent next, or nil. session.mu must be held.
func (w *watches) next() []byte {
	if w == nil || w.message == nil {
		return nil
	}
	data := w.message
	w.message = nil
	notify(w.taken)
	return data
}

// idle reports whether no watch is running. session.mu must be held.
func (w *watches) idle() bool { return w == nil || len(w.running) == 0 }

// watch begins a watch, or refuses it. ctx ends with the session.
func (s *session) watch(ctx context.Context, k *sessionwire.Keep) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.unsent.Closed() {
		return
	}
	if s.watches == nil {
		s.watches = newWatches(ctx)
	}
	w := s.watches
	if refusal := w.refuses(k.ID, s.drain); refusal != nil {
		s.out = sessionwire.AppendWatchEnd(s.outBuffer(), k.ID, statusBytes(refusal))
		notify(s.wake)
		return
	}
	one := &running{id: k.ID, ahead: k.Events, room: make(chan struct{}, 1)}
	if one.ahead == 0 {
		one.ahead = math.MaxUint32
	}
	ctx, one.cancel = context.WithCancelCause(w.ctx)
	w.running[k.ID] = one
	request := *k.Watch
	w.work.Go(func() {
		defer one.cancel(nil)
		w.end(s, one, s.follow(ctx, one, request))
	})
}

// refuses returns why no watch with this id may begin, or nil. session.mu must be held.
func (w *watches) refuses(id uint64, drain <-chan struct{}) error {
	select {
	case <-drain:
		return errDraining
	default:
	}
	switch {
	case w.running[id] != nil:
		return errSameWatch
	case len(w.running) >= maxWatches:
		return errWatches
	}
	return nil
}

// unwatch ends a watch; its end is still sent.
func (s *session) unwatch(id uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.watches == nil {
		return
	}
	if one := s.watches.running[id]; one != nil {
		one.cancel(context.Canceled)
	}
}

// readEvents notes that the client has read events of a watch.
func (s *session) readEvents(id uint64, events uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.watches == nil {
		return
	}
	if one := s.watches.running[id]; one != nil {
		one.sent -= min(one.sent, events)
		notify(one.room)
	}
}

// endWatches ends all watches with an error; their ends are still sent.
func (s *session) endWatches(why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.watches == nil {
		return
	}
	for _, one := range s.watches.running {
		one.cancel(why)
	}
}

// closeWatches ends all watches of a session that sends nothing any more, and waits for them. No other
// begins after session.unsent was closed.
func (s *session) closeWatches() {
	s.mu.Lock()
	w := s.watches
	s.mu.Unlock()
	if w != nil {
		w.stop()
		w.work.Wait()
	}
}

// follow watches until ctx ends, and returns why the watch has ended.
func (s *session) follow(ctx context.Context, one *running, r sharelock.WatchRequest) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = panicked(s.log, pb.LockService_Watch_FullMethodName, p)
		}
	}()
	send := func(events []*event.Event) error { return s.tell(ctx, one, events) }
	if s.guard != nil {
		err = s.guard.Watch(ctx, r, s.watcher.Watch, send)
	} else {
		err = s.gate.Watch(ctx, r, s.watcher.Watch, send)
	}
	logInternal(s.log, pb.LockService_Watch_FullMethodName, err)
	return cmp.Or(err, context.Canceled)
}

// tell puts events into the message. It waits while that is full or the client has not read what was sent,
// and fails when this takes stallTime, or with ctx. Watches that wait have their turns one message each.
func (s *session) tell(ctx context.Context, one *running, events []*event.Event) error {
	w := s.watches
	for len(events) > 0 {
		most := s.mayTell(one, len(events))
		if most == 0 {
			if err := await(ctx, one.room, stallTime); err != nil {
				return err
			}
			continue
		}
		if err := await(ctx, w.turn, stallTime); err != nil {
			return err
		}
		message, n := sessionwire.AppendEvents(w.fill(s), one.id, most, maxEvents, func(b []byte, i int) []byte {
			return events[i].Append(b, event.Message, sessionwire.AppendEvent)
		})
		events = events[n:]
		s.mu.Lock()
		w.message = message
		one.sent += uint32(n) //nolint:gosec // at most one.ahead in total
		s.mu.Unlock()
		notify(s.wake)
		var err error
		if n < most { // it is full
			err = await(ctx, w.taken, stallTime)
		}
		w.turn <- struct{}{}
		if err != nil {
			return err
		}
	}
	return nil
}

// mayTell returns how many of n events of a watch the client takes now.
func (s *session) mayTell(one *running, n int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return int(min(uint64(n), uint64(one.ahead-one.sent))) //nolint:gosec // at most n
}

// end puts the end of a watch into the message, unless the session ends before there is room.
func (w *watches) end(s *session, one *running, why error) {
	status := statusBytes(why)
	err := await(w.ctx, w.turn, forever)
	for full := true; full && err == nil; {
		message := w.fill(s)
		full = len(message) > maxEvents-len(status)-endHeader && len(message) > 0
		if !full {
			message = sessionwire.AppendWatchEnd(message, one.id, status)
		}
		s.mu.Lock()
		if w.message = message; !full {
			delete(w.running, one.id)
		}
		s.mu.Unlock()
		notify(s.wake)
		if full {
			err = await(w.ctx, w.taken, forever)
		} else {
			w.turn <- struct{}{}
		}
	}
}

// endHeader is more than the end of a watch takes besides its status, in bytes.
const endHeader = 32

// fill returns the message, for the watch that has the turn. The writer does not find it meanwhile.
func (w *watches) fill(s *session) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	message := w.message
	w.message = nil
	select {
	case <-w.taken: // an earlier message
	default:
	}
	return message
}

// forever is longer than any session.
const forever time.Duration = math.MaxInt64

// await waits for a value of c, for no longer than most, or ctx.
func await(ctx context.Context, c <-chan struct{}, most time.Duration) error {
	select {
	case <-c:
		return nil
	default:
	}
	t := time.NewTimer(most)
	defer t.Stop()
	select {
	case <-c:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return errNotRead
	}
}
