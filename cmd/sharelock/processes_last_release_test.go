//go:build linux && !release_next

package main

import (
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	releases "github.com/sgkandale/sharelock/internal/release"
)

// lastReleaseEnv is the path of a program of the last release, as scripts/upgrade builds it.
const lastReleaseEnv = "SHARELOCK_LAST_RELEASE"

// A mesh of real programs of the last release is upgraded to this one, node by node, while the release is
// held back, then downgraded, and then upgraded for good. Under load nothing is lost, and no call fails.
func TestProcessesFromLastRelease(t *testing.T) {
	old := os.Getenv(lastReleaseEnv)
	if old == "" {
		t.Skip("needs a program of the last release: make upgrade")
	}
	const last = releases.Current - 1
	r := newRehearsal(t, 3, "")
	for i := range 3 {
		r.procs = append(r.procs, &proc{name: string(rune('a' + i)), host: r.host(i), program: old, log: &buffer{}})
	}
	all := r.form(3)
	clients := r.clients(all...)
	locks := holdThirty(t, clients)
	l := newLoad(t, 100, longTTL, clients, never)
	wantReleases(r, last, last)

	rollIn(r, "", fmt.Sprintf("SHARELOCK_MESH__HOLD_RELEASE=%d", last), last)
	wantReleases(r, last, releases.Current)
	locks.check(t, clients[0])
	rollIn(r, old, "", last)
	wantReleases(r, last, last)
	locks.check(t, clients[0])
	rollIn(r, "", "", last)
	r.await("the release has risen", 20*time.Second, func() bool {
		return !slices.ContainsFunc(all, func(p *proc) bool { return viewRelease(r, p) != releases.Current })
	})
	wantReleases(r, releases.Current, releases.Current)
	l.end()
	locks.check(t, clients[0])
	locks.release(t)
}
