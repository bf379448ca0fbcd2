package machine

import (
	"crypto/sha256"
	"encoding/binary"
	"hash/maphash"
	"math"
	"time"

	"github.com/sgkandale/sharelock/internal/compact"
)

// keepFinished is how long a request id that is over is remembered (Q2), by the
// clock of each replica.
const keepFinished = 90 * time.Second

// A digest stands for a key, and a request id of a principal. It is the same in every process, and a
// cryptographic hash, so that nobody can choose two ids with the same digest; see
// docs/adr/0012-bounded-partitions.md.
type digest [16]byte

// withPrincipal is a bit of the length of a key in a digest. No key is so long.
const withPrincipal = 1 << 15

func digestOf(key, principal, request string) digest {
	const most = 1 << 10
	buf := make([]byte, 0, most)
	// The lengths keep a byte from moving from one part to the next.
	if principal == "" {
		buf = binary.BigEndian.AppendUint16(buf, uint16(len(key)))
	} else {
		buf = binary.BigEndian.AppendUint16(buf, uint16(len(key))|withPrincipal)
		buf = binary.BigEndian.AppendUint16(buf, uint16(len(principal)))
		buf = append(buf, principal...)
	}
	buf = append(append(buf, key...), request...)
	sum := sha256.Sum256(buf)
	return digest(sum[:16])
}

// finishedIDs remembers the request ids that are over, so that a late duplicate of an acquire is
// told so and not granted (Q2). There may be as many of them as held locks, so an id is a digest of
// fixed size, without a pointer. Create one with newFinishedIDs.
type finishedIDs struct {
	// next is when the next id is forgotten, or never if there is none. Every step reads it.
	next time.Duration
	// queues have the ids in the order in which they are forgotten: those whose hold or wait has
	// ended, and the fences, which are ids that were given up before they were ever seen (Q6).
	queues [2]finishedQueue
	seed   maphash.Seed
	ids    compact.HashTable[uint32]
}

// The queues of finishedIDs.
const (
	queueEnded = iota
	queueFence
)

// chunkLen is the number of entries that a queue gets memory for at once.
const chunkLen = 32

// A finishedID is one id that is over. The zero value is one that was removed.
type finishedID struct {
	digest digest
	until  time.Duration
	// conn is the connection, or the number of the principal, to whose share the id counts.
	conn uint32
}

func newFinishedIDs() finishedIDs { return finishedIDs{next: never, seed: maphash.MakeSeed()} }

// never is later than any time.
const never time.Duration = math.MaxInt64

func (f *finishedIDs) len() int { return f.ids.Len() }

// hash returns the hash of a digest. The seed keeps a client from choosing ids that collide.
func (f *finishedIDs) hash(d *digest) uint32 { return uint32(maphash.Bytes(f.seed, d[:]) >> 32) }

// queueBit is set in the numbers of entries of the second queue.
const queueBit = 1 << 31

func (f *finishedIDs) at(id uint32) *finishedID { return f.queues[id/queueBit].at(id % queueBit) }

// find returns the number of an id, or 0.
func (f *finishedIDs) find(d *digest) uint32 {
	if f.ids.Len() == 0 {
		return 0
	}
	return f.ids.Find(f.hash(d), func(id uint32) bool { return f.at(id).digest == *d })
}

func (f *finishedIDs) has(key, principal, request string) bool {
	if f.ids.Len() == 0 {
		return false
	}
	d := digestOf(key, principal, request)
	return f.find(&d) != 0
}

// add remembers an id until the given time. If the id is known, its time starts again: by the
// owner's clock it had been forgotten when the owner decided this. It returns the earlier entry.
func (f *finishedIDs) add(queue int, o finishedID) (was finishedID) {
	if id := f.find(&o.digest); id != 0 {
		was = f.drop(id)
	}
	id := f.queues[queue].push(o) | uint32(queue)*queueBit
	f.next = f.soonest()
	f.ids.Put(f.hash(&o.digest), id)
	return was
}

// remove forgets one id and returns its entry, or the zero value if it was not known.
func (f *finishedIDs) remove(key, principal, request string) (was finishedID) {
	if f.ids.Len() == 0 {
		return finishedID{}
	}
	d := digestOf(key, principal, request)
	if id := f.find(&d); id != 0 {
		was = f.drop(id)
	}
	return was
}

func (f *finishedIDs) drop(id uint32) finishedID {
	o := f.at(id)
	was := *o
	f.ids.Remove(f.hash(&was.digest), id)
	*o = finishedID{}
	if q := &f.queues[id/queueBit]; q.first == id%queueBit {
		q.trim(chunkLen)
		f.next = f.soonest()
	}
	return was
}

// forget drops the ids whose time is over and calls gone for each. It looks at no more than most
// entries of each queue.
func (f *finishedIDs) forget(now time.Duration, most int, gone func(finishedID)) {
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
func (f *finishedIDs) soonest() time.Duration {
	next := never
	for i := range f.queues {
		if q := &f.queues[i]; q.n > 0 {
			next = min(next, q.due)
		}
	}
	return next
}

// A finishedQueue is a queue of ids in the order in which they are forgotten. An entry keeps its
// number while it is in the queue. The zero value is empty.
type finishedQueue struct {
	// n is the number of entries.
	n int
	// due is when the oldest id is forgotten, if there is one. It is 0 if that id was removed.
	due    time.Duration
	chunks []*[chunkLen]finishedID
	// first is the number of the oldest entry, from 1. head is its index in the first chunk.
	first uint32
	head  int
	// last is when the newest id is forgotten.
	last time.Duration
}

// push adds an entry and returns its number.
func (q *finishedQueue) push(o finishedID) uint32 {
	if q.n == 0 {
		q.first, q.last = max(q.first, 1), 0 // numbers go on
	}
	// Keep the order even if the clock went backwards.
	if q.last = max(o.until, q.last); q.n == 0 {
		q.due = q.last
	}
	o.until = q.last
	if q.head+q.n == len(q.chunks)*chunkLen {
		q.chunks = append(q.chunks, new([chunkLen]finishedID))
	}
	number := q.number(q.n)
	q.n++
	*q.at(number) = o
	return number
}

// number returns the number of the entry with index i, from 0 for the oldest. Numbers are below
// queueBit and wrap around; 0 is none.
func (q *finishedQueue) number(i int) uint32 { return (q.first-1+uint32(i))%(queueBit-1) + 1 }

// index is the inverse of number. It is below n only for an entry that is in the queue.
func (q *finishedQueue) index(number uint32) int {
	return int((number + queueBit - 1 - q.first) % (queueBit - 1))
}

// at returns the entry with a number.
func (q *finishedQueue) at(number uint32) *finishedID {
	i := q.head + q.index(number)
	return &q.chunks[i/chunkLen][i%chunkLen]
}

// trim drops up to most removed entries from the front of the queue and frees their memory. It
// returns how many it dropped.
func (q *finishedQueue) trim(most int) (taken int) {
	for q.n > 0 && taken < most && *q.at(q.first) == (finishedID{}) {
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
		q.due = q.at(q.first).until
	}
	return taken
}
