package compact

// fifo is a queue. It grows and shrinks by a chunk at a time, and keeps a little room when
// it runs empty, as it mostly is: between a batch and its acknowledgements. The zero value
// is empty.
type Queue[T any] struct {
	// tail is the last chunk, mostly the only one; all others are full, with fifoChunk entries.
	tail []T
	// head is where the queue begins in its first chunk, n its length.
	head, n uint32
	// full are the chunks before tail, or nil if there are none. They are behind a pointer so
	// that a short queue takes little room: each partition has several queues.
	full *[][]T
}

const (
	queueChunk = 64
	// keptRoom is the most room that an empty queue keeps, in entries.
	keptRoom = 4
)

func (q *Queue[T]) Len() int { return int(q.n) }

// at is the entry i, from 0.
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

func (q *Queue[T]) Push(more ...T) {
	for _, v := range more {
		if len(q.tail) == cap(q.tail) {
			q.grow()
		}
		q.tail = append(q.tail, v)
		q.n++
	}
}

// grow makes sure that the tail is not a full chunk.
func (q *Queue[T]) grow() {
	c := q.tail
	switch {
	case q.full == nil && int(q.head) > len(c)/2:
		// A short queue that never runs empty does not grow for what was dropped.
		n := copy(c, c[q.head:])
		clear(c[n:])
		q.tail, q.head = c[:n], 0
	case len(c) == queueChunk && q.full == nil:
		q.full, q.tail = &[][]T{c}, nil
	case len(c) == queueChunk:
		*q.full, q.tail = append(*q.full, c), nil
	}
}

// drop lets go of the first n entries.
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

// room returns the number of entries that there is memory for.
func (q *Queue[T]) Room() int {
	n := cap(q.tail)
	if q.full != nil {
		n += len(*q.full) * queueChunk
	}
	return n
}
