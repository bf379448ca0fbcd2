// Package quota limits what one principal may ask of one node: calls per second, and open
// connections. Calls that keep a lock alive or end it are never limited: renewals, keepalives,
// attaches, releases and giving up do not use this package.
package quota

import (
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/sgkandale/sharelock"
)

// maxPrincipals bounds the principals whose calls are counted. A full bucket is equivalent to none,
// so only principals that have called recently need one.
const maxPrincipals = 1 << 16

// Quotas counts the calls and connections of principals. A nil *Quotas limits nothing. All methods are safe for concurrent use.
type Quotas struct {
	// clock never goes back.
	clock func() time.Duration

	mu          sync.Mutex // guards what follows
	buckets     map[string]bucket
	connections map[string]int
}

// bucket is a token bucket. It held left tokens at the time at.
type bucket struct {
	left float64
	at   time.Duration
	// full is when it will be full again.
	full time.Duration
}

// New returns Quotas that read a monotonic clock.
func New(clock func() time.Duration) *Quotas {
	return &Quotas{clock: clock, buckets: make(map[string]bucket), connections: make(map[string]int)}
}

// Call counts a call of a principal that may make perSecond calls a second, and as many at once.
// With perSecond 0 there is no limit. Beyond the limit the error is a sharelock.ErrQuota that says
// when to retry; a call that is refused does not count.
func (q *Quotas) Call(principal string, perSecond int) error {
	if q == nil || perSecond <= 0 {
		return nil
	}
	now, rate := q.clock(), float64(perSecond)
	q.mu.Lock()
	defer q.mu.Unlock()
	b, known := q.buckets[principal]
	if !known {
		if len(q.buckets) >= maxPrincipals {
			q.makeRoom(now)
		}
		b = bucket{left: rate, at: now}
	}
	b.left = min(rate, b.left+rate*(now-b.at).Seconds())
	b.at = now
	if b.left < 1 {
		q.buckets[principal] = b
		return &sharelock.Error{
			Err:        sharelock.ErrQuota,
			Message:    fmt.Sprintf("max_calls_per_second of principal %q is %d: call less often, or raise it in the auth file", principal, perSecond),
			RetryAfter: seconds((1 - b.left) / rate),
		}
	}
	b.left--
	b.full = now + seconds((rate-b.left)/rate)
	q.buckets[principal] = b
	return nil
}

// seconds rounds up to milliseconds, so that a caller that waits so long does not retry too early.
func seconds(s float64) time.Duration {
	return time.Duration(math.Ceil(s*1000)) * time.Millisecond
}

// makeRoom removes full buckets, and then others until an eighth of the room is free, so that it is
// called rarely.
func (q *Quotas) makeRoom(now time.Duration) {
	for principal, b := range q.buckets {
		if b.full <= now {
			delete(q.buckets, principal)
		}
	}
	for principal := range q.buckets {
		if len(q.buckets) <= maxPrincipals*7/8 {
			return
		}
		delete(q.buckets, principal)
	}
}

// Connect counts a connection of a principal that may have most of them; 0 is no limit. The
// caller calls release when the connection has ended; further calls of release do nothing. Beyond
// the limit the error is a sharelock.ErrQuota.
func (q *Quotas) Connect(principal string, most int) (release func(), err error) {
	if q == nil {
		return func() {}, nil
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if most > 0 && q.connections[principal] >= most {
		return nil, &sharelock.Error{
			Err:        sharelock.ErrQuota,
			Message:    fmt.Sprintf("max_connections of principal %q is %d at each node: close some, or raise it in the auth file", principal, most),
			RetryAfter: time.Second,
		}
	}
	q.connections[principal]++
	var once sync.Once
	return func() { once.Do(func() { q.disconnect(principal) }) }, nil
}

func (q *Quotas) disconnect(principal string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.connections[principal]--; q.connections[principal] == 0 {
		delete(q.connections, principal)
	}
}
