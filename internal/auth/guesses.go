package auth

import (
	"math"
	"net/netip"
	"sync"
	"time"

	"github.com/sgkandale/sharelock/internal/share"
)

// Bounds of the bad credentials that one address may send.
const (
	// guessBurst credentials are examined at once, and then one every guessInterval.
	guessBurst    = 20
	guessInterval = time.Second
	// maxGuessers bounds the addresses that are remembered.
	maxGuessers = 4096
)

// guesses counts bad credentials by address: one bucket each, which empties by one every
// guessInterval. An IPv6 address counts as its /64, which usually belongs to one host.
type guesses struct {
	mu sync.Mutex
	// full is when the bucket of an address would be empty again; guarded by mu.
	full map[netip.Addr]time.Time
}

// limited returns how long the address must wait before other credentials than proven ones are
// examined; 0 means not at all.
func (g *guesses) limited(from netip.Addr, now time.Time) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	end, known := g.full[share.Network(from)]
	if !known {
		return 0
	}
	return max(end.Sub(now)-(guessBurst-1)*guessInterval, 0)
}

// failed records bad credentials.
func (g *guesses) failed(from netip.Addr, now time.Time) {
	from = share.Network(from)
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.full == nil {
		g.full = map[netip.Addr]time.Time{}
	}
	end, known := g.full[from]
	if !known && len(g.full) >= maxGuessers {
		g.forget(now)
	}
	if end.Before(now) {
		end = now
	}
	g.full[from] = end.Add(guessInterval)
}

// forget removes the addresses whose buckets are empty. If there are none, it removes the emptiest of a few
// buckets that it looks at. mu must be held.
func (g *guesses) forget(now time.Time) {
	var emptiest netip.Addr
	least, seen := time.Duration(math.MaxInt64), 0
	for a, end := range g.full {
		if !end.After(now) {
			delete(g.full, a)
			continue
		}
		if left := end.Sub(now); left < least && seen < 16 {
			emptiest, least = a, left
		}
		seen++
	}
	if len(g.full) >= maxGuessers {
		delete(g.full, emptiest)
	}
}
