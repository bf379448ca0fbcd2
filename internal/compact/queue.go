package compact

// A Queue is a first-in-first-out queue. It grows and shrinks by a chunk at a time, and keeps a
// little memory when it becomes empty, since most queues are empty between a batch and its
// acknowledgements. The zero value is empty.
type Queue[T any] struct {
	// tail is the last chunk, usually the only one. All others are full, with queueChunk entries.
	tail []T
	// head is the index in the first chunk where the queue begins, n its length.
	head, n uint32
	// full points to the chunks before tail, or is nil if there are none. The pointer keeps a short
	// queue small: each partition has several queues.
	full *[][]T
}

const (
	queueChunk = 64
	// keptRoom is the largest capacity, in entries, that an empty queue keeps.
	keptRoom = 4
)

// Len returns the number of entries.
func (q *Queue[T]) Len() int { return int(q.n) }

// At returns the entry with index i, from 0.
func (q *Queue[T]) At(i int) *T {
	i += int(q.head)
	if q.full != nil {
		if c := i / queueChunk; c < len(*q.full) {
			return &(*q.full)[c][i%queueChunk]
		}
		i %= queueChunk
	}
	return &q.tail[i]
}

// Push appends entries.
func (q *Queue[T]) Push(more ...T) {
	for _, v := range more {
		if len(q.tail) == cap(q.tail) {
			q.grow()
		}
		q.tail = append(q.tail, v)
		q.n++
	}
}

// grow makes room in the tail, or starts a new chunk.
func (q *Queue[T]) grow() {
	c := q.tail
	switch {
	case q.full == nil && int(q.head) > len(c)/2:
		// A short queue that never becomes empty reuses the room of dropped entries.
		n := copy(c, c[q.head:])
		clear(c[n:])
		q.tail, q.head = c[:n], 0
	case len(c) == queueChunk && q.full == nil:
		q.full, q.tail = &[][]T{c}, nil
	case len(c) == queueChunk:
		*q.full, q.tail = append(*q.full, c), nil
	}
}

// Drop removes the first n entries.
func (q *Queue[T]) Drop(n int) {
	for q.n -= uint32(n); n > 0 && q.full != nil; {
		c := (*q.full)[0]
		now := min(n, queueChunk-int(q.head))
		clear(c[q.head : int(q.head)+now])
		n -= now
		if q.head += uint32(now); q.head == queueChunk {
			q.head = 0
			if (*q.full)[0] = nil; len(*q.full) == 1 {
				q.full = nil
			} else {
				*q.full = (*q.full)[1:]
			}
		}
	}
	if n > 0 {
		clear(q.tail[q.head : int(q.head)+n])
		q.head += uint32(n)
	}
	if q.n > 0 {
		return
	}
	if q.head = 0; q.full == nil && cap(q.tail) <= keptRoom {
		q.tail = q.tail[:0]
		return
	}
	*q = Queue[T]{}
}

// Room returns the number of entries that there is memory for.
func (q *Queue[T]) Room() int {
	n := cap(q.tail)
	if q.full != nil {
		n += len(*q.full) * queueChunk
	}
	return n
}
