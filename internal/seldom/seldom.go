// Package seldom keeps a log short although strangers could fill it: what is said about one of them
// is said once in a while.
package seldom

import (
	"sync"
	"time"
)

const (
	// interval is the time in which something is said once.
	interval = time.Minute
	// maxKeys bounds memory. More keys than that in an interval are silent.
	maxKeys = 256
)

// Log decides what is worth a line. The zero value is ready; its methods are safe for concurrent
// use.
type Log struct {
	mu   sync.Mutex
	last map[string]time.Time // by key; guarded by mu
}

// Allow reports whether something about key may be said now: nothing was for a minute.
func (l *Log) Allow(key string) bool {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if last, said := l.last[key]; said && now.Sub(last) < interval {
		return false
	}
	if len(l.last) >= maxKeys {
		for k, last := range l.last {
			if now.Sub(last) >= interval {
				delete(l.last, k)
			}
		}
		if len(l.last) >= maxKeys {
			return false
		}
	}
	if l.last == nil {
		l.last = make(map[string]time.Time)
	}
	l.last[key] = now
	return true
}
