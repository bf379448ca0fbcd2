package mesh

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"time"

	"github.com/sgkandale/sharelock/internal/audit"
	"github.com/sgkandale/sharelock/internal/auth"
	"github.com/sgkandale/sharelock/internal/ringproto"
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

// authHash names the content of the auth file; empty if there is none.
func (n *Node) authHash() string {
	if n.auth == nil {
		return ""
	}
	return n.auth.Hash()
}

// authHashes are what the processes of the mesh say of their auth files in gossip.
func (n *Node) authHashes() map[ring.Identity]string {
	hashes := map[ring.Identity]string{}
	for _, p := range n.gossip.Processes() {
		hashes[ringproto.DecodeIdentity(p.Meta.GetIdentity())] = p.Meta.GetAuthHash()
	}
	return hashes
}

const (
	// authCompare is how often the auth files of the members are compared.
	authCompare = 5 * time.Second
	// authRollOut is how long they may differ before that is worth a warning: a new file does not
	// reach all members at once.
	authRollOut = 30 * time.Second
)

// watchAuth tells the others when the auth file has changed, and warns while theirs differ.
func (n *Node) watchAuth(ctx context.Context) {
	tick := time.NewTicker(authCompare)
	defer tick.Stop()
	announced := n.authHash()
	var (
		differ, warned string
		since          time.Duration
	)
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if hash := n.authHash(); hash != announced {
			announced = hash
			n.announce()
		}
		now := n.clock()
		if others := n.authDiffers(); others != differ {
			differ, since = others, now
		}
		if differ != warned && (differ == "" || now-since >= authRollOut) {
			if warned = differ; warned != "" {
				n.log.Warn("the auth files of members differ: what a caller may do depends on the node", "hash", announced, "members", warned)
			}
		}
	}
}

// authDiffers names the members of the view whose auth files are not that of this node.
func (n *Node) authDiffers() string {
	v := n.views.Now()
	if v == nil {
		return ""
	}
	hashes := n.authHashes()
	var names []string
	for _, m := range v.Members {
		if hash, known := hashes[m.Identity]; known && hash != n.authHash() {
			names = append(names, m.Name)
		}
	}
	return strings.Join(names, ", ")
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
