package cluster_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/sgkandale/sharelock/client"
	"github.com/sgkandale/sharelock/internal/invariant"
	"github.com/sgkandale/sharelock/internal/virtual"
)

// The holder of a lock that is taken away learns of it within a round trip, with the reason: for a
// lock that was just acquired, one that a session keeps alive, and one that a node other than its
// owner keeps alive, on both transports.
func TestForcedHolderIsTold(t *testing.T) {
	for _, tc := range []struct {
		name      string
		held      time.Duration
		nodes     []int
		transport client.Transport
	}{
		{"just taken", 0, nil, client.TransportPlain},
		{"just taken, gRPC", 0, nil, client.TransportGRPC},
		{"kept alive", sceneMax/2 + time.Second, nil, client.TransportPlain},
		{"kept alive, gRPC", sceneMax/2 + time.Second, nil, client.TransportGRPC},
		{"kept by node 0", sceneMax/2 + time.Second, []int{0}, client.TransportPlain},
		{"kept by node 1", sceneMax/2 + time.Second, []int{1}, client.TransportPlain},
		{"kept by node 2", sceneMax/2 + time.Second, []int{2}, client.TransportPlain},
	} {
		t.Run(tc.name, func(t *testing.T) {
			virtual.Test(t, func(t *testing.T) {
				c := scene(t, 3, 2)
				cl, err := c.Dial(t.Context(), client.Options{ClientID: "holder", Transport: tc.transport}, tc.nodes...)
				must(t, err)
				var locks []*client.Lock
				for _, key := range []string{"a", "b", "c", "d"} {
					l, err := cl.Acquire(t.Context(), key, client.TTL(sceneMax))
					must(t, err)
					locks = append(locks, l)
				}
				time.Sleep(tc.held)
				for _, l := range locks[:3] {
					if _, err := c.Client(1).ForceRelease(t.Context(), l.Key(), l.Token(), "maintenance of rack 7"); err != nil {
						t.Fatal(err)
					}
					began := time.Now()
					select {
					case <-l.Done():
					case <-time.After(time.Second):
						t.Fatalf("%s: the holder of %s does not know a second later that it was taken away", invariant.OnTime, l.Key())
					}
					t.Logf("%s: told after %v", l.Key(), time.Since(began))
					if err := l.Err(); !errors.Is(err, client.ErrLost) || !strings.Contains(err.Error(), "maintenance of rack 7") {
						t.Errorf("%s: %v", l.Key(), err)
					}
				}
				if err := locks[3].Err(); err != nil {
					t.Errorf("a lock that nobody has taken away: %v", err)
				}
			})
		})
	}
}
