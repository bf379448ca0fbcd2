package client

import (
	"crypto/rand"
	"strconv"
	"sync/atomic"
)

// ids makes request ids: what no other client makes, and a number.
type ids struct {
	prefix string
	last   *atomic.Uint64
}

func newIDs() ids { return ids{prefix: rand.Text()[:16] + ".", last: new(atomic.Uint64)} }

func (i ids) next() string {
	var b [40]byte
	return string(strconv.AppendUint(append(b[:0], i.prefix...), i.last.Add(1), 36))
}
