package faults

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/sgkandale/sharelock/client"
)

// minority asks nodes that are cut off for locks, which they must not grant after their lease has
// ended (Q4).
type minority struct {
	r     *rig
	cut   time.Time
	stop  chan struct{}
	work  sync.WaitGroup
	mu    sync.Mutex
	tries int           // guarded by mu
	last  time.Duration // when a grant was made, after the cut; guarded by mu
	wrong []string      // guarded by mu
}

// prepare connects to the nodes. watch begins at the cut.
func (m *minority) prepare(nodes []*node) (watch func()) {
	m.r.t.Helper()
	var clients []*client.Client
	for _, n := range nodes {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		c, err := client.Dial(ctx, []string{n.addr()}, client.Options{OnlyAddrs: true, Patience: time.Millisecond, ClientID: "minority"})
		cancel()
		if err != nil {
			m.r.t.Fatal(err)
		}
		m.r.t.Cleanup(func() { c.Close() }) //nolint:errcheck // what it holds ends with its TTL
		clients = append(clients, c)
	}
	m.stop = make(chan struct{})
	return func() {
		m.cut = time.Now()
		for i, c := range clients {
			m.work.Go(func() { m.ask(c, nodes[i].name) })
		}
	}
}

func (m *minority) ask(c *client.Client, name string) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-m.stop:
			return
		case <-tick.C:
		}
		sent := time.Now()
		ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
		lock, err := c.TryAcquire(ctx, fmt.Sprintf("minority/%s/%d", name, i), client.NoRenew())
		cancel()
		m.note(name, sent, lock, err)
	}
}

func (m *minority) note(name string, sent time.Time, lock *client.Lock, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tries++
	if err != nil {
		return
	}
	// It was granted after it was sent, and the node's lease began before the cut (V4).
	at := sent.Sub(m.cut)
	m.last = max(m.last, at)
	if at > lease {
		m.wrong = append(m.wrong, fmt.Sprintf("%s granted token %v %v after it was cut off", name, lock.Token(), at))
	}
}

// end stops before the cut is healed, and reports violations.
func (m *minority) end() {
	m.r.t.Helper()
	close(m.stop)
	m.work.Wait()
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, w := range m.wrong[:min(len(m.wrong), 5)] {
		m.r.t.Error(w)
	}
	m.r.t.Logf("cut off: %d acquires tried, the last grant was to one sent %v after the cut", m.tries, m.last.Round(time.Millisecond))
	if m.tries < 20 {
		m.r.t.Errorf("those cut off were asked only %d times", m.tries)
	}
}
