package peer

import (
	"sync"
	"time"

	"github.com/sgkandale/sharelock/ring"
)

// Contacts records when calls between this process and others last succeeded, by the name of the
// other process. The zero value is ready.
type Contacts struct {
	mu sync.Mutex
	at map[string]time.Duration // guarded by mu
}

// maxContacts bounds the number of processes in Contacts, because some of them are gone.
const maxContacts = 2 * ring.MaxMembers

// Note records that a call to or from a process succeeds now.
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

// Since reports whether a call succeeded at the given time or later.
func (c *Contacts) Since(name string, when time.Duration) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	at, ok := c.at[name]
	return ok && at >= when
}
