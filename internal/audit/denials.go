package audit

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/sgkandale/sharelock/internal/share"
)

// Denials cost their caller nothing. A caller that wants to hide something could otherwise fill the log
// with denials until the lines that matter are rotated away. For each principal, or each host without good
// credentials, denialBurst denials are written at once and then one every denialEvery; for all together
// allBurst, and then one every allEvery. The rest is counted and summarised in a line after summaryAfter.
// No other events are left out.
const (
	denialBurst, denialEvery = 50, 2 * time.Second
	allBurst, allEvery       = 1000, 20 * time.Millisecond

	summaryAfter = time.Minute
	// maxSummaries is the largest number of summary lines that are written together. One more
	// line sums up the rest.
	maxSummaries = 16
	// maxDeniers bounds the principals and hosts that are counted separately.
	maxDeniers = 4096
)

// denials decides which denials are logged one by one, and counts the others. The zero value is ready to
// use.
type denials struct {
	mu sync.Mutex
	// of has the callers that were denied something recently; guarded by mu.
	of  map[denier]*denied
	all bucket // guarded by mu
}

// denier is a caller whose calls were denied: a principal, or a host. The zero value stands for all callers
// beyond maxDeniers.
type denier struct{ principal, host string }

// denied are the denials of one denier.
type denied struct {
	lines bucket
	// left is the number of denials that were not logged since the last summary; since is the time of the
	// first of them.
	left  uint64
	since time.Time
}

// bucket is a token bucket: it allows a burst, and then one event per interval. The zero value is full.
type bucket struct{ empty time.Time }

// take reports whether one more event may pass now.
func (b *bucket) take(now time.Time, burst int, every time.Duration) bool {
	if b.empty.Before(now) {
		b.empty = now
	}
	if b.empty.Sub(now) > time.Duration(burst-1)*every {
		return false
	}
	b.empty = b.empty.Add(every)
	return true
}

// pass reports whether a denial is logged. If not, it is counted.
func (d *denials) pass(now time.Time, e *Event) bool {
	who := denier{host: share.HostOf(e.Remote)}
	if e.Principal != "" && e.Credential != "" && e.Credential != "none" {
		who = denier{principal: e.Principal}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	of := d.of[who]
	if of == nil {
		if len(d.of) >= maxDeniers {
			who = denier{}
		}
		if of = d.of[who]; of == nil {
			of = &denied{}
			if d.of == nil {
				d.of = map[denier]*denied{}
			}
			d.of[who] = of
		}
	}
	if of.lines.take(now, denialBurst, denialEvery) && d.all.take(now, allBurst, allEvery) {
		return true
	}
	if of.left++; of.left == 1 {
		of.since = now
	}
	return false
}

// summaries returns the lines for what was left out, the largest first: a minute later, or
// at once if everything is set. It forgets those who were denied nothing for a while.
func (d *denials) summaries(now time.Time, everything bool) (lines []Event) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for who, of := range d.of {
		switch {
		case of.left > 0 && (everything || now.Sub(of.since) >= summaryAfter):
			lines = append(lines, Event{
				Principal: who.principal, Remote: who.host, Result: Denied, Suppressed: of.left, Since: of.since.UTC(),
				Reason: "so many more denials were left out",
			})
			of.left = 0
		case of.left == 0 && of.lines.empty.Before(now):
			delete(d.of, who)
		}
	}
	slices.SortFunc(lines, func(a, b Event) int { return cmp.Compare(b.Suppressed, a.Suppressed) })
	if len(lines) <= maxSummaries {
		return lines
	}
	rest := Event{Result: Denied, Since: lines[maxSummaries].Since, Reason: "so many more denials of others were left out"}
	for _, e := range lines[maxSummaries:] {
		rest.Suppressed += e.Suppressed
		if e.Since.Before(rest.Since) {
			rest.Since = e.Since
		}
	}
	return append(lines[:maxSummaries], rest)
}

// Deny is Record of a call that was denied. Beyond a rate it only counts: a flood of denials must not
// rotate away what matters.
func (l *Log) Deny(ctx context.Context, e Event) {
	if l == nil {
		return
	}
	e.Result = Denied
	if l.denials.pass(time.Now(), &e) {
		l.Record(ctx, e)
	}
}
