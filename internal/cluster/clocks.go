package cluster

import (
	"sync"
	"time"
)

// ratedClock is the clock of one process. It runs at a rate of its own against the time
// that the cluster lives in, the bubble's mostly, by which timers go.
type ratedClock struct {
	mu    sync.Mutex
	at    time.Time     // when value was right; guarded by mu
	value time.Duration // guarded by mu
	rate  float64       // guarded by mu
}

func newClock(rate float64) *ratedClock { return &ratedClock{at: time.Now(), rate: rate} }

// now is a clock, as package clock has them, and a client's.
func (k *ratedClock) now() time.Duration {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.value + k.since(time.Now())
}

func (k *ratedClock) since(t time.Time) time.Duration {
	if k.rate == 1 {
		return t.Sub(k.at)
	}
	return time.Duration(float64(t.Sub(k.at)) * k.rate)
}

// set changes the rate from now on.
func (k *ratedClock) set(rate float64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	t := time.Now()
	k.value, k.at, k.rate = k.value+k.since(t), t, rate
}

// SetRate makes the clock of node i run at a rate: 1.1 is a tenth too fast. The
// protocol holds as long as any two clocks, clients' too, differ by at most 10 % (see
// [Cluster.DialRate]). Timers are not affected, which it does not trust. On Loopback
// the clock does not count the time that the machine is suspended.
func (c *Cluster) SetRate(i int, rate float64) {
	c.history.note(Event{Kind: Disturbed, What: "clock rate"})
	c.at(i).clock.set(rate)
}
