package session

import (
	"context"
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/sessionwire"
)

const (
	// mostWatches is how many watches a node takes in a session.
	mostWatches = 1000
	// mostAhead is how many events of a watch the node may send that its program has not taken yet. They
	// wait here, since the stream carries other things, too.
	mostAhead = 1024
)

// ErrNoWatches: there is no stream to the node, the node is of a version that takes no watches in sessions, or
// the session has as many as it may.
var ErrNoWatches = errors.New("the session takes no watches")

// watch is a watch of a stream. The fields are guarded by stream.mu, but wake.
type watch struct {
	wake chan struct{}
	// told is what the node has told, for sessionwire.ReadEvents.
	told [][]byte
	// left: the program wants no more. The watch counts until the node has ended it.
	left bool
}

// Watch watches over the stream that is open, and passes what the node tells to tell until that returns false,
// which is no error. It fails with [ErrNoWatches] before it has told anything, and otherwise with a gRPC status:
// that of the watch, as the unary call's, or of the stream.
func (s *Session) Watch(ctx context.Context, r sharelock.WatchRequest, tell func(sharelock.Event) bool) error {
	st := s.cur.Load()
	if st == nil {
		return ErrNoWatches
	}
	if err := st.greet(ctx); err != nil {
		return err
	}
	id, w := st.watch(&r)
	if w == nil {
		return ErrNoWatches
	}
	defer st.leave(id, w)
	taken := uint32(0)
	for {
		list, err := st.news(w)
		for _, data := range list {
			events, ended, rerr := sessionwire.ReadEvents(data)
			if rerr != nil {
				return status.Error(codes.Unavailable, rerr.Error())
			}
			for i := range events {
				if !tell(events[i]) {
					return nil
				}
				if taken++; taken == mostAhead/4 {
					st.taken(id, taken)
					taken = 0
				}
			}
			if ended != nil {
				return statusError(ended)
			}
		}
		if len(list) > 0 {
			continue
		}
		if err != nil {
			return err
		}
		select {
		case <-w.wake:
		case <-ctx.Done():
			return status.FromContextError(ctx.Err()).Err()
		}
	}
}

// greet waits for the first message of the node, which says whether it takes watches.
func (st *stream) greet(ctx context.Context) error {
	st.mu.Lock()
	if !st.spoke {
		st.ping()
	}
	st.mu.Unlock()
	st.nudge()
	select {
	case <-st.greeted:
		return nil
	case <-st.ctx.Done():
		return ErrNoWatches
	case <-ctx.Done():
		return status.FromContextError(ctx.Err()).Err()
	}
}

// ping asks the node for a message. mu must be held.
func (st *stream) ping() {
	if !st.waits() {
		st.heard = st.s.Now()
	}
	st.pinged = true
	st.urgent = sessionwire.AppendPing(st.first())
}

// watch begins a watch. It returns nil if the node takes none, or no more.
func (st *stream) watch(r *sharelock.WatchRequest) (id uint64, w *watch) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if !st.takesWatches || st.err != nil || len(st.watches) >= mostWatches {
		return 0, nil
	}
	if st.watches == nil {
		st.watches = map[uint64]*watch{}
	}
	st.lastWatch++
	id, w = st.lastWatch, &watch{wake: make(chan struct{}, 1)}
	st.watches[id] = w
	st.out = sessionwire.AppendKeep(st.buffer(), &sessionwire.Keep{Kind: sessionwire.KeepWatch, ID: id, Watch: r, Events: mostAhead})
	st.ping() // a node that is gone is noticed soon
	st.nudge()
	return id, w
}

// news returns what a watch was told, or why it is told nothing any more, or neither.
func (st *stream) news(w *watch) (list [][]byte, err error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	list, w.told = w.told, nil
	return list, st.err
}

// taken reports to the node that the program has taken events of a watch.
func (st *stream) taken(id uint64, events uint32) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.out = sessionwire.AppendKeep(st.buffer(), &sessionwire.Keep{Kind: sessionwire.KeepRead, ID: id, Events: events})
	st.nudge()
}

// leave ends a watch, unless the node has.
func (st *stream) leave(id uint64, w *watch) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.watches[id] != w || st.err != nil {
		return
	}
	w.left, w.told = true, nil
	// In out, behind the watch: a node ignores the end of a watch that it has not received.
	st.out = sessionwire.AppendKeep(st.buffer(), &sessionwire.Keep{Kind: sessionwire.KeepUnwatch, ID: id})
	st.nudge()
}

// tellWatch passes on what the node tells of a watch. mu must be held.
func (st *stream) tellWatch(k *sessionwire.Kept) {
	w := st.watches[k.ID]
	if w == nil {
		return
	}
	if k.Over {
		delete(st.watches, k.ID)
	}
	if !w.left {
		w.told = append(w.told, k.Events)
		w.nudge()
	}
}

func (w *watch) nudge() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}
