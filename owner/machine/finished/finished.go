// Package finished remembers the request ids of a partition that are over, so that a late duplicate of an
// acquire is told so and not granted (Q2).
package finished

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"iter"
	"math"
	"time"

	"github.com/sgkandale/sharelock/internal/compact"
)

// Keep is how long a request id that is over is remembered (Q2), by the
// clock of each replica.
const Keep = 90 * time.Second

// A Digest stands for a key, and a request id of a principal. It is the same in every process, and a
// cryptographic hash, so that nobody can choose two ids with the same digest; see
// docs/adr/0012-bounded-partitions.md.
type Digest [16]byte

// withPrincipal is a bit of the length of a key in a digest. No key is so long.
const withPrincipal = 1 << 15

// DigestOf returns the digest of a key and of a request id of a principal.
func DigestOf(key, principal, request string) Digest {
	const most = 1 << 10
	buf := make([]byte, 0, most)
	// The lengths keep a byte from moving from one part to the next.
	if principal == "" {
		buf = binary.BigEndian.AppendUint16(buf, uint16(len(key)&math.MaxUint16))
	} else {
		buf = binary.BigEndian.AppendUint16(buf, uint16(len(key)&math.MaxUint16)|withPrincipal)
		buf = binary.BigEndian.AppendUint16(buf, uint16(len(principal)&math.MaxUint16))
		buf = append(buf, principal...)
	}
	buf = append(append(buf, key...), request...)
	sum := sha256.Sum256(buf)
	return Digest(sum[:16])
}

// IDs remembers the request ids that are over, so that a late duplicate of an acquire is
// told so and not granted (Q2). There may be as many of them as held locks, so an id is a digest of
// fixed size, without a pointer. Create one with New.
type IDs struct {
	// next is when the next id is forgotten, or Never if there is none. Every step reads it.
	next time.Duration
	// queues have the ids in the order in which they are forgotten: those whose hold or wait has
	// ended, and the fences, which are ids that were given up before they were ever seen (Q6).
	queues [2]queue
	seed   maphash.Seed
	ids    compact.HashTable[uint32]
}

// The queues of IDs: ids whose hold or wait has ended, and fences.
const (
	Ended = iota
	Fence
)

// Queues are all queues.
var Queues = [...]int{Ended, Fence}

// chunkLen is the number of entries that a queue gets memory for at once.
const chunkLen = 32

// An ID is one id that is over. The zero value is one that was removed.
type ID struct {
	Digest Digest
	Until  time.Duration
	// Conn is the connection, or the number of the principal, to whose share the id counts.
	Conn uint32
}

// New returns an empty IDs.
func New() IDs { return IDs{next: Never, seed: maphash.MakeSeed()} }

// Never is later than any time.
const Never time.Duration = math.MaxInt64

// Len returns the number of ids.
func (f *IDs) Len() int { return f.ids.Len() }

// hash returns the hash of a digest. The seed keeps a client from choosing ids that collide.
func (f *IDs) hash(d *Digest) uint32 { return uint32(maphash.Bytes(f.seed, d[:]) >> 32) }

// queueBit is set in the numbers of entries of the second queue.
const queueBit = 1 << 31

func (f *IDs) at(id uint32) *ID { return f.queues[id/queueBit].at(id % queueBit) }

// find returns the number of an id, or 0.
func (f *IDs) find(d *Digest) uint32 {
	if f.ids.Len() == 0 {
		return 0
	}
	return f.ids.Find(f.hash(d), func(id uint32) bool { return f.at(id).Digest == *d })
}

// Next returns when the next id is forgotten, or Never.
func (f *IDs) Next() time.Duration { return f.next }

// Knows reports whether an id is over.
func (f *IDs) Knows(d *Digest) bool { return f.find(d) != 0 }

// From yields the ids of a queue with their numbers, the oldest first, from the one with a number on. It
// begins with the oldest one if the number is 0 or has been forgotten.
func (f *IDs) From(which int, number uint32) iter.Seq2[uint32, ID] {
	return func(yield func(uint32, ID) bool) {
		q := &f.queues[which]
		i := 0
		if number != 0 {
			if i = q.index(number); i >= q.n {
				i = 0 // it was forgotten meanwhile, and all before it
			}
		}
		for ; i < q.n; i++ {
			if !yield(q.number(i), *q.at(q.number(i))) {
				return
			}
		}
	}
}

// Room returns for how many ids there is memory.
func (f *IDs) Room() int {
	room := 0
	for i := range f.queues {
		room += len(f.queues[i].chunks) * chunkLen
	}
	return max(room, f.ids.Room())
}

// Has reports whether a request id of a principal is over.
func (f *IDs) Has(key, principal, request string) bool {
	if f.ids.Len() == 0 {
		return false
	}
	d := DigestOf(key, principal, request)
	return f.find(&d) != 0
}

// Add remembers an id until the given time. If the id is known, its time starts again: by the
// owner's clock it had been forgotten when the owner decided this. It returns the earlier entry.
func (f *IDs) Add(at int, o ID) (was ID) {
	if id := f.find(&o.Digest); id != 0 {
		was = f.drop(id)
	}
	id := f.queues[at].push(o) | uint32(at)*queueBit
	f.next = f.soonest()
	f.ids.Put(f.hash(&o.Digest), id)
	return was
}

// Remove forgets one id and returns its entry, or the zero value if it was not known.
func (f *IDs) Remove(key, principal, request string) (was ID) {
	if f.ids.Len() == 0 {
		return ID{}
	}
	d := DigestOf(key, principal, request)
	if id := f.find(&d); id != 0 {
		was = f.drop(id)
	}
	return was
}

func (f *IDs) drop(id uint32) ID {
	o := f.at(id)
	was := *o
	f.ids.Remove(f.hash(&was.Digest), id)
	*o = ID{}
	if q := &f.queues[id/queueBit]; q.first == id%queueBit {
		q.trim(chunkLen)
		f.next = f.soonest()
	}
	return was
}

// Forget drops the ids whose time is over and calls gone for each. It looks at no more than most
// entries of each queue.
func (f *IDs) Forget(now time.Duration, most int, gone func(ID)) {
	if f.next > now {
		return
	}
	for i := range f.queues {
		q := &f.queues[i]
		for left := most; left > 0 && q.n > 0 && q.due <= now; left-- {
			if left -= q.trim(left); left > 0 && q.n > 0 && q.due <= now {
				gone(f.drop(q.first | uint32(i)*queueBit))
			}
		}
	}
	f.next = f.soonest()
}

// soonest returns the value for next.
func (f *IDs) soonest() time.Duration {
	next := Never
	for i := range f.queues {
		if q := &f.queues[i]; q.n > 0 {
			next = min(next, q.due)
		}
	}
	return next
}

// A queue is a queue of ids in the order in which they are forgotten. An entry keeps its
// number while it is in the queue. The zero value is empty.
type queue struct {
	// n is the number of entries.
	n int
	// due is when the oldest id is forgotten, if there is one. It is 0 if that id was removed.
	due    time.Duration
	chunks []*[chunkLen]ID
	// first is the number of the oldest entry, from 1. head is its index in the first chunk.
	first uint32
	head  int
	// last is when the newest id is forgotten.
	last time.Duration
}

// push adds an entry and returns its number.
func (q *queue) push(o ID) uint32 {
	if q.n == 0 {
		q.first, q.last = max(q.first, 1), 0 // numbers go on
	}
	// Keep the order even if the clock went backwards.
	if q.last = max(o.Until, q.last); q.n == 0 {
		q.due = q.last
	}
	o.Until = q.last
	if q.head+q.n == len(q.chunks)*chunkLen {
		q.chunks = append(q.chunks, new([chunkLen]ID))
	}
	number := q.number(q.n)
	q.n++
	*q.at(number) = o
	return number
}

// number returns the number of the entry with index i, from 0 for the oldest. Numbers are below
// queueBit and wrap around; 0 is none.
func (q *queue) number(i int) uint32 { return (q.first-1+uint32(i))%(queueBit-1) + 1 }

// index is the inverse of number. It is below n only for an entry that is in the queue.
func (q *queue) index(number uint32) int {
	return int((number + queueBit - 1 - q.first) % (queueBit - 1))
}

// at returns the entry with a number.
func (q *queue) at(number uint32) *ID {
	i := q.head + q.index(number)
	return &q.chunks[i/chunkLen][i%chunkLen]
}

// trim drops up to most removed entries from the front of the queue and frees their memory. It
// returns how many it dropped.
func (q *queue) trim(most int) (taken int) {
	for q.n > 0 && taken < most && *q.at(q.first) == (ID{}) {
		q.first = q.number(1)
		q.n--
		taken++
		if q.head++; q.head == chunkLen {
			q.chunks[0] = nil
			q.chunks, q.head = q.chunks[1:], 0
		}
	}
	if q.n == 0 {
		q.chunks, q.head = nil, 0
	} else {
		q.due = q.at(q.first).Until
	}
	return taken
}

// Check checks that the queues and the hash table have the same ids, and that the queues are in
// order.
func (f *IDs) Check() error {
	n := 0
	for qi := range f.queues {
		q := &f.queues[qi]
		var before time.Duration
		for i := range q.n {
			id := q.number(i)
			o := q.at(id)
			if *o == (ID{}) {
				continue
			}
			n++
			switch {
			case f.find(&o.Digest) != id|uint32(qi)*queueBit:
				return fmt.Errorf("finished request id %x is not found", o.Digest)
			case o.Until < before:
				return fmt.Errorf("finished request ids are out of order at %x", o.Digest)
			}
			before = o.Until
		}
		if q.n > 0 && q.due != q.at(q.first).Until {
			return fmt.Errorf("the next finished request id is forgotten at %v, noted is %v", q.at(q.first).Until, q.due)
		}
		if q.n == 0 && len(q.chunks) > 0 {
			return fmt.Errorf("an empty queue of finished request ids keeps room")
		}
	}
	if next := f.soonest(); next != f.next {
		return fmt.Errorf("the next finished request id is forgotten at %v, noted is %v", next, f.next)
	}
	if n != f.ids.Len() {
		return fmt.Errorf("%d finished request ids, counted were %d", n, f.ids.Len())
	}
	if err := f.ids.Check(); err != nil {
		return fmt.Errorf("finished request ids: %w", err)
	}
	return nil
}
