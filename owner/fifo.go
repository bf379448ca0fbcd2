package owner

// fifo is a queue. It grows and shrinks by a chunk at a time, and keeps a little room when
// it runs empty, as it mostly is: between a batch and its acknowledgements. The zero value
// is empty.
type fifo[T any] struct {
	// chunks but the last have fifoChunk entries. The queue begins at head of the first.
	chunks [][]T
	head   int
	n      int
}

const (
	fifoChunk = 64
	// keptRoom is the most room that an empty queue keeps, in entries.
	keptRoom = 4
)

func (q *fifo[T]) len() int { return q.n }

// at is the entry i, from 0.
func (q *fifo[T]) at(i int) *T {
	i += q.head
	return &q.chunks[i/fifoChunk][i%fifoChunk]
}

func (q *fifo[T]) push(more ...T) {
	for _, v := range more {
		last := len(q.chunks) - 1
		if last < 0 || len(q.chunks[last]) == fifoChunk {
			q.chunks = append(q.chunks, nil)
			last++
		}
		c := q.chunks[last]
		if last == 0 && len(c) == cap(c) && q.head > len(c)/2 {
			// A short queue that never runs empty does not grow for what was dropped.
			n := copy(c, c[q.head:])
			clear(c[n:])
			c, q.head = c[:n], 0
		}
		q.chunks[last] = append(c, v)
		q.n++
	}
}

// drop lets go of the first n entries.
func (q *fifo[T]) drop(n int) {
	for q.n -= n; n > 0; {
		c := q.chunks[0]
		now := min(n, len(c)-q.head)
		clear(c[q.head : q.head+now])
		n -= now
		if q.head += now; q.head == fifoChunk {
			q.chunks[0] = nil
			q.chunks, q.head = q.chunks[1:], 0
		}
	}
	if q.n > 0 {
		return
	}
	if len(q.chunks) == 1 && cap(q.chunks[0]) <= keptRoom {
		q.chunks[0], q.head = q.chunks[0][:0], 0
		return
	}
	*q = fifo[T]{}
}
