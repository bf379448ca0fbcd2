package client

import (
	"testing"
	"time"
)

// After a Renew for less the lock has that TTL, and the owner keeps no longer one, whether the client
// renews it by itself or the program does: the owner lets it take effect only when less than that is left.
func TestRenewForLess(t *testing.T) {
	bubbleOf(t, false, func(t *testing.T, m *fakeMesh, c *Client) {
		const asked = 10 * time.Second
		for name, again := range map[string]bool{"by itself": false, "by the program": true} {
			l := mustAcquire(t, c, name, TTL(time.Minute))
			if err := l.Renew(t.Context(), asked); err != nil {
				t.Fatal(err)
			}
			for range 30 {
				time.Sleep(asked / 2)
				if again {
					if err := l.Renew(t.Context(), 0); err != nil {
						t.Fatal(err)
					}
				}
				if got := l.Hold().TTL; got != asked {
					t.Errorf("%s: the TTL is %v, want %v", name, got, asked)
				}
			}
			if kept, left := m.held(name); kept != asked || left > asked*11/10 {
				t.Errorf("%s: the owner keeps %v, of which %v are left, want %v", name, kept, left, asked)
			}
			if err := l.Release(t.Context()); err != nil {
				t.Error(err)
			}
		}
	})
}

// held returns the TTL of the hold of a key, and what is left of it.
func (m *fakeMesh) held(key string) (ttl, left time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	l := m.lock(key)
	return l.hold.Ttl.AsDuration(), time.Until(l.expires)
}
