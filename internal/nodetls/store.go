package nodetls

import (
	"context"
	"crypto/sha256"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// pollInterval is how often the source is checked for a change, so that a change takes effect within 10 s.
const pollInterval = 5 * time.Second

// Config says what a Store loads.
type Config struct {
	Source Source
	// Member is the DNS name that the certificate must carry; empty if members do not use TLS.
	Member string
	// Log is never nil.
	Log *slog.Logger
	// Clock is what certificates are verified with; nil is time.Now.
	Clock func() time.Time
}

// Store holds the current set of a node. Its methods are safe for concurrent use.
type Store struct {
	cfg     Config
	current atomic.Pointer[Set]
	conns   conns
	expiry  expiry

	reloads, failures atomic.Uint64

	mu sync.Mutex // serialises loading
	// refused is the content of the last material that was not accepted; said is set when it was logged.
	// Both are guarded by mu.
	refused [sha256.Size]byte
	said    bool
}

// Open loads the first set. A certificate whose only fault is its time is accepted here, because
// the node can wait for a better one.
func Open(cfg Config) (*Store, error) {
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	s := &Store{cfg: cfg}
	m, err := cfg.Source()
	if err != nil {
		return nil, err
	}
	set, err := newSet(m, cfg.Member, cfg.Clock)
	if err != nil && !errors.Is(err, errTime) {
		return nil, err
	}
	s.current.Store(set)
	s.expiry.look(set, cfg.Clock(), cfg.Log)
	return s, nil
}

// Current returns the set that handshakes use now.
func (s *Store) Current() *Set { return s.current.Load() }

// Stats are counts of a store, and the end of its certificate.
type Stats struct {
	// Reloads and Failures count the changes that were accepted and refused.
	Reloads, Failures uint64
	// Expires is the end of the node's certificate.
	Expires time.Time
	// Streams is the number of open streams whose other end has shown a certificate.
	Streams int
}

// Stats returns the counts.
func (s *Store) Stats() Stats {
	return Stats{Reloads: s.reloads.Load(), Failures: s.failures.Load(), Expires: s.Current().Expires(), Streams: s.conns.len()}
}

// Run loads changed material, and warns before the certificate expires, until ctx ends.
func (s *Store) Run(ctx context.Context) {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			_ = s.load(false) // it is logged
			s.expiry.look(s.Current(), s.cfg.Clock(), s.cfg.Log)
		}
	}
}

// Reload loads the material now. It returns an error if the material is not accepted; the set
// remains then. Material that has not changed is accepted.
func (s *Store) Reload() error { return s.load(true) }

// load replaces the set if the material has changed and is accepted. Without asked, material that was
// refused before is tried again, because perhaps only its time was wrong, but not counted again.
func (s *Store) load(asked bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	m, err := s.cfg.Source()
	content := contentOf(m)
	if err == nil && content == s.Current().content {
		s.said = false
		return nil
	}
	var set *Set
	if err == nil {
		set, err = newSet(m, s.cfg.Member, s.cfg.Clock)
	}
	if err != nil {
		if asked || !s.said || content != s.refused {
			s.failures.Add(1)
			s.cfg.Log.Error("the new certificates are not used, the old ones remain", "error", err, "expires", s.Current().Expires())
		}
		s.refused, s.said = content, true
		return err
	}
	s.said = false
	s.current.Store(set)
	s.reloads.Add(1)
	s.cfg.Log.Info("new certificates are used", "names", describe(set.cert.Leaf), "expires", set.Expires(), "authorities", len(set.bundle))
	s.conns.closeRevoked(set, s.cfg.Log)
	return nil
}
