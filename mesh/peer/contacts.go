package peer

import (
	"sync"
	"time"

	"github.com/sgkandale/sharelock/ring"
)

// Contacts notes when calls between this process and others last went through, by the name
// of the other one. The zero value is ready.
type Contacts struct {
	mu sync.Mutex
	at map[string]time.Duration // guarded by mu
}

// maxContacts bounds what Contacts remembers of processes that are gone.
const maxContacts = 2 * ring.MaxMembers

// Note notes that a call with a process goes through now.
func (c *Contacts) Note(name string, now time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.at == nil {
		c.at = map[string]time.Duration{}
	}
	if _, known := c.at[name]; !known && len(c.at) >= maxContacts {
		oldest := name
		for other, at := range c.at {
			if oldest == name || at < c.at[oldest] {
				oldest = other
			}
		}
		delete(c.at, oldest)
	}
	c.at[name] = now
}

// Since reports whether a call went through at a time or later.
func (c *Contacts) Since(name string, when time.Duration) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	at, ok := c.at[name]
	return ok && at >= when
}
