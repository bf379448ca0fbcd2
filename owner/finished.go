package owner

import (
	"hash/maphash"
	"time"
)

// keepFinished is how long a request id that is over is remembered (Q2), by the
// clock of each replica.
const keepFinished = 90 * time.Second

// finished remembers the request ids that are over, so that a late duplicate of
// an acquire is told so and not granted. Like held locks, they may be many. Make it
// with [newFinished].
type finished struct {
	seed  maphash.Seed
	ids   hashIndex
	nodes slab[finishedNode]
	texts texts
	// oldest and newest are the ends of the list in the order of until; 0 is none.
	oldest, newest uint32
}

type finishedNode struct {
	until      time.Duration
	hash       uint32
	text       textID
	prev, next uint32
}

func newFinished() finished { return finished{seed: maphash.MakeSeed()} }

func (f *finished) len() int { return f.ids.n }

// hash is one of the key and the id: other keys may have the same ids.
func (f *finished) hash(key, request string) uint32 {
	const odd = 0x9e3779b97f4a7c15 // the parts must not be exchangeable
	return uint32((maphash.String(f.seed, key)*odd + maphash.String(f.seed, request)) >> 32)
}

// find is the number of an id, or 0.
func (f *finished) find(key, request string) uint32 {
	if f.ids.n == 0 {
		return 0
	}
	return f.ids.find(f.hash(key, request), func(id uint32) bool {
		k, _, r := f.texts.parts(f.nodes.at(id).text)
		return string(k) == key && string(r) == request
	})
}

func (f *finished) has(key, request string) bool { return f.find(key, request) != 0 }

// add remembers an id until the given time. One that is known begins anew: the
// owner's clock had forgotten it when the owner decided so.
func (f *finished) add(key, request string, until time.Duration) {
	f.remove(key, request)
	if f.newest != 0 {
		// The list stays in order even if a clock does not.
		until = max(until, f.nodes.at(f.newest).until)
	}
	n := finishedNode{until: until, hash: f.hash(key, request), text: f.texts.put(key, "", request)}
	f.ids.put(n.hash, f.push(n))
}

// push makes a node the newest.
func (f *finished) push(n finishedNode) uint32 {
	id := f.nodes.take()
	n.prev, n.next = f.newest, 0
	*f.nodes.at(id) = n
	if f.newest == 0 {
		f.oldest = id
	} else {
		f.nodes.at(f.newest).next = id
	}
	f.newest = id
	return id
}

// remove forgets one id, if it is known.
func (f *finished) remove(key, request string) {
	if id := f.find(key, request); id != 0 {
		f.drop(id)
		f.tidy()
	}
}

func (f *finished) drop(id uint32) {
	n := *f.nodes.at(id)
	if n.prev == 0 {
		f.oldest = n.next
	} else {
		f.nodes.at(n.prev).next = n.next
	}
	if n.next == 0 {
		f.newest = n.prev
	} else {
		f.nodes.at(n.next).prev = n.prev
	}
	f.ids.remove(n.hash, id)
	f.texts.remove(n.text)
	f.nodes.give(id)
}

// forget drops the ids whose time is over.
func (f *finished) forget(now time.Duration) {
	if f.oldest == 0 || f.nodes.at(f.oldest).until > now {
		return
	}
	for f.oldest != 0 && f.nodes.at(f.oldest).until <= now {
		f.drop(f.oldest)
	}
	f.tidy()
}

// first is when the oldest id is forgotten.
func (f *finished) first() (until time.Duration, ok bool) {
	if f.oldest == 0 {
		return 0, false
	}
	return f.nodes.at(f.oldest).until, true
}

// after calls fn for each id whose time is not over by now, the oldest first, until
// it is false.
func (f *finished) after(now time.Duration) func(fn func(*finishedNode) bool) {
	return func(fn func(*finishedNode) bool) {
		for id := f.oldest; id != 0; {
			n := f.nodes.at(id)
			if n.until > now && !fn(n) {
				return
			}
			id = n.next
		}
	}
}

// tidy gives memory back when most of it is of no use.
func (f *finished) tidy() {
	if !f.nodes.sparse() && !f.texts.sparse() {
		return
	}
	was := *f
	*f = finished{seed: was.seed}
	for id := was.oldest; id != 0; id = was.nodes.at(id).next {
		n := *was.nodes.at(id)
		n.text = f.texts.copy(&was.texts, n.text)
		f.ids.put(n.hash, f.push(n))
	}
}
