package mesh

import (
	"errors"
	"log/slog"

	"github.com/sgkandale/sharelock/internal/audit"
	"github.com/sgkandale/sharelock/internal/auth"
	"github.com/sgkandale/sharelock/mesh/authfiles"
	"github.com/sgkandale/sharelock/mesh/gossip"
	"github.com/sgkandale/sharelock/ring"
)

// Auth says who the callers of a node are and what they may do.
type Auth struct {
	// File is the path of the auth file, which is the same on all nodes. Changes are noticed within
	// 10 s, and by Node.Reload. If it is empty, everyone may do everything.
	File string
	// AllowPlaintextTokens takes tokens that come from other hosts without TLS.
	AllowPlaintextTokens bool
}

// validate returns what is wrong with the settings, apart from the file.
func (a Auth) validate() error {
	if a.AllowPlaintextTokens && a.File == "" {
		return errors.New("auth.allow_plaintext_tokens needs auth.file")
	}
	return nil
}

// openAuth reads the auth file. It returns nil if there is none.
func openAuth(cfg Auth, record *audit.Log, log *slog.Logger) (*auth.Authority, error) {
	if cfg.File == "" {
		return nil, nil //nolint:nilnil // nil is a node that does not authenticate
	}
	return auth.Open(auth.Config{
		File: cfg.File, AllowPlaintextTokens: cfg.AllowPlaintextTokens, Audit: record, Log: log.With("part", "auth"),
	})
}

// compareAuth makes what compares the auth files of the members.
func (n *Node) compareAuth() *authfiles.Watch {
	own := func() string { return "" }
	if n.auth != nil {
		own = n.auth.Hash
	}
	return &authfiles.Watch{
		Own: own, Processes: func() []gossip.Process { return n.gossip.Processes() }, Changed: n.announce, Clock: n.clock, Log: n.log,
		Members: func() []ring.Member {
			if v := n.views.Now(); v != nil {
				return v.Members
			}
			return nil
		},
	}
}

// AuthFailures returns how often callers could not be authenticated, by reason.
func (n *Node) AuthFailures() map[string]uint64 {
	if n.auth == nil {
		return nil
	}
	return n.auth.Failures()
}

// AuthReloads returns how often a change of the auth file was taken, and how often it was refused.
func (n *Node) AuthReloads() (taken, refused uint64) {
	if n.auth == nil {
		return 0, 0
	}
	return n.auth.Reloads()
}
