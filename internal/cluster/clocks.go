package cluster

import (
	"sync"
	"time"
)

// ratedClock is the clock of one process. It runs at a rate relative to the time in which the
// cluster lives (mostly that of a bubble). Timers follow the cluster's time, not this clock.
type ratedClock struct {
	mu    sync.Mutex
	at    time.Time     // when the clock showed value; guarded by mu
	value time.Duration // guarded by mu
	rate  float64       // guarded by mu
}

func newClock(rate float64) *ratedClock { return &ratedClock{at: time.Now(), rate: rate} }

// now has the signature of the clocks of package clock and of clients.
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

// SetRate makes the clock of node i run at a rate: 1.1 is 10 % too fast. The protocol
// holds as long as any two clocks, including those of clients (see [Cluster.DialRate]),
// differ by at most 10 %. Timers are not affected; the protocol does not rely on them. On
// Loopback the clock does not count the time for which the machine is suspended.
func (c *Cluster) SetRate(i int, rate float64) {
	c.history.note(Event{Kind: Disturbed, What: "clock rate"})
	c.at(i).clock.set(rate)
}
