// Package logtail keeps the last lines of a log in memory.
package logtail

import (
	"bytes"
	"io"
	"sync"
)

// Tail passes a log on and keeps its end. It is safe for concurrent use.
type Tail struct {
	to   io.Writer
	most int

	mu sync.Mutex // guards ring and next
	// ring is full when it has most bytes; then next is the position of the oldest byte.
	ring []byte
	next int
}

// New returns a Tail that writes to to and keeps the last most bytes.
func New(to io.Writer, most int) *Tail { return &Tail{to: to, most: most} }

// Write implements io.Writer. It keeps p even if writing to to fails.
func (t *Tail) Write(p []byte) (int, error) {
	t.keep(p)
	return t.to.Write(p)
}

func (t *Tail) keep(p []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p = p[max(len(p)-t.most, 0):]
	if room := t.most - len(t.ring); room > 0 {
		n := min(room, len(p))
		t.ring, p = append(t.ring, p[:n]...), p[n:]
	}
	for len(p) > 0 {
		n := copy(t.ring[t.next:], p)
		t.next, p = (t.next+n)%t.most, p[n:]
	}
}

// Bytes returns the last complete lines, oldest first.
func (t *Tail) Bytes() []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := append(append(make([]byte, 0, len(t.ring)), t.ring[t.next:]...), t.ring[:t.next]...)
	if len(all) < t.most {
		return all
	}
	_, whole, _ := bytes.Cut(all, []byte("\n"))
	return whole
}
