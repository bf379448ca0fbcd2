package nodetls

import (
	"log/slog"
	"sync"
	"time"
)

const (
	// expiryNotice is how long before its end the certificate is reported.
	expiryNotice = 14 * 24 * time.Hour
	// How often that is repeated before and after the end.
	expiresSoonInterval = 24 * time.Hour
	expiredInterval     = time.Hour
)

// expiry reports the end of the certificate. The zero value is ready.
type expiry struct {
	mu sync.Mutex
	// said is when the certificate was last reported, and expired is what was reported. Guarded by mu.
	said    time.Time
	expired bool
}

// look reports a certificate that ends soon or has ended, unless it was reported a short time ago.
func (e *expiry) look(set *Set, now time.Time, log *slog.Logger) {
	e.mu.Lock()
	defer e.mu.Unlock()
	left := set.Expires().Sub(now)
	notYet := now.Before(set.cert.Leaf.NotBefore)
	if left > expiryNotice && !notYet {
		e.said = time.Time{}
		return
	}
	expired := left <= 0 || notYet
	interval := expiresSoonInterval
	if expired {
		interval = expiredInterval
	}
	if !e.said.IsZero() && expired == e.expired && now.Sub(e.said) < interval {
		return
	}
	e.said, e.expired = now, expired
	switch {
	case notYet:
		log.Error("the certificate of this node is not valid yet: other members and clients refuse new connections", "valid_from", set.cert.Leaf.NotBefore)
	case expired:
		log.Error("the certificate of this node has expired: other members and clients refuse new connections; open ones between members remain", "expired", set.Expires())
	default:
		log.Error("the certificate of this node, or its authority, expires soon", "expires", set.Expires(), "left", left.Round(time.Minute))
	}
}
