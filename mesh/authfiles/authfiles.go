// Package authfiles compares the auth files of the members of a mesh. The file should be the same
// on all nodes; while it is not, what a caller may do depends on the node that it asks. Each
// process publishes the hash of its file by gossip, and warns if the hashes differ for longer than
// it takes to roll out a new file.
package authfiles

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"github.com/sgkandale/sharelock/internal/ringproto"
	"github.com/sgkandale/sharelock/mesh/gossip"
	"github.com/sgkandale/sharelock/ring"
)

const (
	// compare is how often the auth files of the members are compared.
	compare = 5 * time.Second
	// rollOut is how long they may differ before a warning is logged: a new file does not reach all
	// members at once.
	rollOut = 30 * time.Second
)

// A Watch compares the auth file of this process with those of other members. All fields must be
// set.
type Watch struct {
	// Own returns the hash of this process's auth file; empty if there is none.
	Own func() string
	// Processes returns the processes that gossip knows, and Members the members of the view.
	Processes func() []gossip.Process
	Members   func() []ring.Member
	// Changed is called when Own has changed; it has to publish the new hash.
	Changed func()
	Clock   func() time.Duration
	Log     *slog.Logger
}

// Hashes returns the hashes of auth files that the processes of the mesh publish by gossip.
func (w *Watch) Hashes() map[ring.Identity]string {
	hashes := map[ring.Identity]string{}
	for _, p := range w.Processes() {
		hashes[ringproto.DecodeIdentity(p.Meta.GetIdentity())] = p.Meta.GetAuthHash()
	}
	return hashes
}

// Run calls Changed when the auth file has changed, and warns if those of other members differ,
// until ctx ends.
func (w *Watch) Run(ctx context.Context) {
	tick := time.NewTicker(compare)
	defer tick.Stop()
	announced := w.Own()
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
		if hash := w.Own(); hash != announced {
			announced = hash
			w.Changed()
		}
		now := w.Clock()
		if others := w.differ(); others != differ {
			differ, since = others, now
		}
		if differ != warned && (differ == "" || now-since >= rollOut) {
			if warned = differ; warned != "" {
				w.Log.Warn("the auth files of members differ: what a caller may do depends on the node", "hash", announced, "members", warned)
			}
		}
	}
}

// differ returns the names of the members of the view whose auth files differ from that of this
// process.
func (w *Watch) differ() string {
	own, hashes := w.Own(), w.Hashes()
	var names []string
	for _, m := range w.Members() {
		if hash, known := hashes[m.Identity]; known && hash != own {
			names = append(names, m.Name)
		}
	}
	return strings.Join(names, ", ")
}
