package authfiles

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sgkandale/sharelock/internal/ringproto"
	"github.com/sgkandale/sharelock/internal/virtual"
	"github.com/sgkandale/sharelock/mesh/gossip"
	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
	"github.com/sgkandale/sharelock/ring"
)

// mesh is what a Watch sees: the hashes of members, by name; "" means that gossip does not know the
// member.
type mesh struct {
	// mu guards what follows, because the watch reads it in a goroutine of its own.
	mu      sync.Mutex
	own     string
	others  map[string]string
	changes int
	log     strings.Builder
}

func (m *mesh) watch(began time.Time) *Watch {
	identity := func(name string) ring.Identity { return ring.Identity{ID: name, Counter: 1} }
	return &Watch{
		Own: func() string {
			m.mu.Lock()
			defer m.mu.Unlock()
			return m.own
		},
		Processes: func() (list []gossip.Process) {
			m.mu.Lock()
			defer m.mu.Unlock()
			for name, hash := range m.others {
				if hash != "" {
					list = append(list, gossip.Process{Meta: &peerv1.Meta{Identity: ringproto.EncodeIdentity(identity(name)), AuthHash: hash}})
				}
			}
			return append(list, gossip.Process{Meta: &peerv1.Meta{Identity: ringproto.EncodeIdentity(identity("no-member")), AuthHash: "x"}})
		},
		Members: func() (list []ring.Member) {
			m.mu.Lock()
			defer m.mu.Unlock()
			for name := range m.others {
				list = append(list, ring.Member{Identity: identity(name), Name: name})
			}
			return list
		},
		Changed: func() {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.changes++
		},
		Clock: func() time.Duration { return time.Since(began) },
		Log:   slog.New(slog.NewTextHandler(m, nil)),
	}
}

// Write adds to the log.
func (m *mesh) Write(b []byte) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.log.Write(b)
}

// seen returns the log, and how often the watch has called Changed.
func (m *mesh) seen() (log string, changes int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.log.String(), m.changes
}

// set changes what the watch sees.
func (m *mesh) set(change func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	change()
}

// A Watch warns once about members whose files differ for longer than a rollout takes, and again if
// they differ after they were the same. It ignores processes that are not members or that gossip
// does not know.
func TestWatch(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		m := &mesh{own: "1", others: map[string]string{"a": "1", "b": "1", "lost": ""}}
		w := m.watch(time.Now())
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			w.Run(ctx)
		}()
		// after waits, and returns how many warnings there are, how many changes, and the log.
		after := func(d time.Duration) (warnings, changes int, log string) {
			time.Sleep(d)
			synctest.Wait()
			log, changes = m.seen()
			return strings.Count(log, "members=b"), changes, log
		}
		if _, changes, log := after(time.Minute); log != "" || changes != 0 {
			t.Errorf("files that are the same: %d changes, log %q", changes, log)
		}
		m.set(func() { m.own, m.others["a"] = "2", "2" })
		if n, changes, _ := after(rollOut); n != 0 || changes != 1 {
			t.Errorf("during the rollout: %d warnings, %d changes", n, changes)
		}
		if n, _, log := after(5 * time.Minute); n != 1 {
			t.Errorf("after the rollout: %d warnings, want 1: %s", n, log)
		}
		m.set(func() { m.others["b"] = "2" })
		after(compare)
		m.set(func() { m.others["b"] = "3" })
		if n, changes, _ := after(rollOut + 2*compare); n != 2 || changes != 1 {
			t.Errorf("when it differs again: %d warnings, want 2; %d changes", n, changes)
		}
		if got := w.Hashes()[ring.Identity{ID: "b", Counter: 1}]; got != "3" {
			t.Errorf("the file of b is %q", got)
		}
		cancel()
		<-ended
	})
}
