package owner

import "time"

// keepFinished is how long a request id that is over is remembered (Q2), by the
// clock of each replica.
const keepFinished = 90 * time.Second

// finished remembers the request ids that are over, so that a late duplicate of
// an acquire is told so and not granted. The zero value is empty.
type finished struct {
	ids lean[finishedID, *finishedNode]
	// oldest and newest are the ends of the list in the order of until.
	oldest, newest *finishedNode
}

type finishedID struct{ key, request string }

type finishedNode struct {
	id         finishedID
	until      time.Duration
	prev, next *finishedNode
}

func (f *finished) has(key, request string) bool {
	_, ok := f.ids.get(finishedID{key, request})
	return ok
}

// add remembers an id until the given time. One that is known begins anew: the
// owner's clock had forgotten it when the owner decided so.
func (f *finished) add(key, request string, until time.Duration) {
	f.remove(key, request)
	id := finishedID{key, request}
	n := &finishedNode{id: id, until: until, prev: f.newest}
	if f.newest == nil {
		f.oldest = n
	} else {
		// The list stays in order even if a clock does not.
		n.until = max(n.until, f.newest.until)
		f.newest.next = n
	}
	f.newest = n
	f.ids.put(id, n)
}

// remove forgets one id, if it is known.
func (f *finished) remove(key, request string) {
	n, ok := f.ids.get(finishedID{key, request})
	if !ok {
		return
	}
	if n.prev == nil {
		f.oldest = n.next
	} else {
		n.prev.next = n.next
	}
	if n.next == nil {
		f.newest = n.prev
	} else {
		n.next.prev = n.prev
	}
	f.ids.delete(n.id)
}

// forget drops the ids whose time is over.
func (f *finished) forget(now time.Duration) {
	for f.oldest != nil && f.oldest.until <= now {
		f.remove(f.oldest.id.key, f.oldest.id.request)
	}
}
