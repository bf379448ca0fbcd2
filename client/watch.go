package client

import (
	"context"
	"errors"
	"io"
	"iter"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/client/internal/session"
	sharelockv1 "github.com/sgkandale/sharelock/proto/sharelock/v1"
)

// Watch follows a key, or all keys with a prefix. It begins with a [sharelock.Snapshot] of every
// hold and waiter and [sharelock.Synced]; the changes follow, those of one key in the order in
// which they happened. After [sharelock.Reset] or [sharelock.Moved] what was told before does not
// count any more, and snapshots follow again.
//
// When a node is lost the watch goes on at another. It ends when the loop ends, and with an error
// when ctx has ended, when the client is closed, when the request is refused, and when no node
// could serve it for Options.Patience. It can then be begun again with Resume set to the Cursor of
// the last event that had one, unless a Reset or Moved came after that.
func (c *Client) Watch(ctx context.Context, r sharelock.WatchRequest) iter.Seq2[sharelock.Event, error] {
	return func(yield func(sharelock.Event, error) bool) {
		w := &watching{request: r, yield: yield}
		err := c.do(ctx, bounds{key: r.Key}, w.follow)
		if !w.left {
			yield(sharelock.Event{}, named("watch", r.Key+r.Prefix, err))
		}
	}
}

// watching is one Watch.
type watching struct {
	request sharelock.WatchRequest // Resume is brought up to date
	yield   func(sharelock.Event, error) bool
	// first is set until a stream has told something, told once the program got an event, left once it
	// wants no more.
	first, told, left bool
}

// errEnded is why a stream is opened again that a node has ended without an error.
var errEnded = errors.New("the node has ended the watch")

// follow passes on what one node tells until the watch there breaks: in the session with the node, if there is
// one and the node knows watches in sessions, and otherwise over a stream of its own.
func (w *watching) follow(ctx context.Context, n *node) error {
	w.first = true
	err := n.session.Watch(ctx, w.request, w.receive)
	if errors.Is(err, session.ErrNoWatches) {
		err = w.stream(ctx, n)
	}
	switch {
	case w.left:
		return nil
	case err == nil, errors.Is(err, io.EOF):
		return again{err: errEnded, away: true}
	}
	return err
}

// stream passes on the events of a stream of gRPC until that breaks.
func (w *watching) stream(ctx context.Context, n *node) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := n.locks.Watch(ctx, &sharelockv1.WatchRequest{
		Key: w.request.Key, Prefix: w.request.Prefix, Resume: w.request.Resume,
	})
	for err == nil {
		var m *sharelockv1.WatchEvent
		if m, err = stream.Recv(); err == nil && !w.receive(sharelockv1.EventFromProto(m)) {
			return nil
		}
	}
	return err
}

// receive takes an event of a node, and reports whether the program wants more.
func (w *watching) receive(e sharelock.Event) bool {
	if w.first && w.told && w.request.Resume == "" && e.Type != sharelock.Reset {
		// The node does not know that this watch has broken before it was in sync.
		w.pass(sharelock.Event{Type: sharelock.Reset, Key: w.request.Key, Reason: "the connection broke", At: e.At})
	}
	w.first = false
	return !w.left && w.pass(e)
}

// pass gives an event to the program, and reports whether it wants more.
func (w *watching) pass(e sharelock.Event) bool {
	if e.Type == "" {
		return true // of a newer release
	}
	switch {
	case e.Type == sharelock.Reset, e.Type == sharelock.Moved:
		w.request.Resume = "" // what was told up to there does not count any more
	case e.Cursor != "":
		w.request.Resume = e.Cursor
	}
	w.told = true
	w.left = !w.yield(e, nil)
	return !w.left
}
