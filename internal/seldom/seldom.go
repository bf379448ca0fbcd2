// Package seldom limits how often a log reports events that strangers can cause: each key, such as a
// host, is reported at most once in an interval.
package seldom

import (
	"sync"
	"time"
)

const (
	// interval is the time in which a key is reported at most once.
	interval = time.Minute
	// maxKeys bounds the memory. If an interval has more keys, the rest is not reported.
	maxKeys = 256
)

// Log decides what is logged. The zero value is ready to use; its methods are safe for concurrent
// use.
type Log struct {
	mu   sync.Mutex
	last map[string]time.Time // by key; guarded by mu
}

// Allow reports whether something about key may be logged now: nothing was logged for a minute.
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
