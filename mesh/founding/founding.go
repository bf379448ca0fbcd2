// Package founding founds a cluster if this process is the one to do so: it is the first of the
// seeds and all others are there and empty, or an operator has said --found (V0). All other seeds
// first promise to follow the new cluster, so that no two processes found a cluster each.
package founding

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/sgkandale/sharelock/internal/ringproto"
	"github.com/sgkandale/sharelock/mesh/epoch"
	"github.com/sgkandale/sharelock/mesh/gossip"
	"github.com/sgkandale/sharelock/mesh/identity"
	"github.com/sgkandale/sharelock/mesh/peer"
	"github.com/sgkandale/sharelock/mesh/view"
	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
	"github.com/sgkandale/sharelock/ring"
)

// Founder founds a cluster if this process is the one to do so. All fields must be set.
type Founder struct {
	Self ring.Identity
	// Wanted is set if an operator said --found. Seeds are those of the configuration.
	Wanted bool
	Seeds  []string
	Data   *identity.Dir
	Views  *epoch.Views
	Gossip *gossip.Gossip
	Raft   *view.Raft
	Peers  *peer.Client
	// Promise binds this process to a cluster. SameCluster reports whether it follows the cluster
	// with an id. Place returns which of the seeds it is.
	Promise     func(cluster []byte, founder ring.Identity) error
	SameCluster func(id []byte) bool
	Place       func() (index int, unique bool, err error)
	// Say is called with the reason why no cluster is founded yet; "" if another process founds it.
	Say func(why string)
	Log *slog.Logger
}

// Run founds a cluster if this process is the one to do so. It returns when the cluster is founded,
// or when this process follows another one.
func (f *Founder) Run(ctx context.Context) {
	id, founder, ok := f.Data.Promise()
	// Return if it follows a cluster, has promised to, or has founded one. It resumes an unfinished
	// founding when it becomes leader.
	if ok && founder.ID != f.Self.ID || f.Raft.Existing() {
		if f.Wanted {
			f.Log.Info("--found is ignored: the data directory belongs to a mesh already", "cluster", fmt.Sprintf("%x", id))
		}
		return
	}
	tick := time.NewTicker(f.Views.Lease() / 4)
	defer tick.Stop()
	defer f.Say("")
	warned := ""
	for ctx.Err() == nil {
		others, why := f.mayFound()
		if why == "" {
			if why = f.found(ctx, others); why == "" {
				return
			}
		}
		if why == waitJoin {
			f.Say("")
		} else {
			f.Say(why)
		}
		if why != warned && why != waitJoin {
			warned = why
			if f.Wanted {
				f.Log.Warn("--found: no cluster is founded", "why", why)
			} else {
				f.Log.Info("cluster not founded yet", "why", why)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-f.Gossip.Changed():
		case <-f.Views.Changed():
		}
		if id, by, ok := f.Data.Promise(); ok && by.ID != f.Self.ID || len(id) > 0 && f.Views.Now() != nil {
			return
		}
	}
}

// mayFound returns the processes whose promise is needed before this one founds a cluster
// (V0), or why it must not.
func (f *Founder) mayFound() (others []gossip.Process, why string) {
	if !f.Wanted {
		return f.seedsReady()
	}
	if others, why = f.seedsEmpty(); why == "" && len(others) == 0 {
		f.Log.Warn("--found: founding a mesh without asking other nodes, because mesh.seeds names none; " +
			"if this node has lost the data directory of a mesh that still runs, both meshes grant the same keys")
	}
	return others, why
}

// seedsEmpty returns the other seeds if all of them are there and none follows a cluster, as
// --found requires. Otherwise it returns why not, with the nodes that are in a cluster.
func (f *Founder) seedsEmpty() (others []gossip.Process, why string) {
	var living []string
	for _, g := range f.Gossip.Processes() {
		if id := g.Meta.GetClusterId(); len(id) > 0 && !f.SameCluster(id) {
			living = append(living, fmt.Sprintf("node %s at %s (gossip %s) in mesh %x", g.Meta.GetName(), g.Meta.GetPeer(), g.Addr, id))
		}
	}
	if len(living) > 0 {
		slices.Sort(living)
		return nil, "a mesh lives already, which this node joins: " + strings.Join(living, ", ")
	}
	if len(f.Seeds) == 0 {
		return nil, ""
	}
	index, _, err := f.Place()
	if err != nil {
		return nil, err.Error()
	}
	others, missing, err := f.Gossip.SeedProcesses()
	switch {
	case err != nil:
		return nil, err.Error()
	case len(missing) > 0:
		return nil, "every seed has to answer that it is empty; no answer yet from " + strings.Join(missing, ", ")
	}
	// Two processes that found a cluster at the same time would refuse each other forever: each
	// would have promised to follow its own.
	if first, ok := f.precedes(); ok {
		return nil, fmt.Sprintf("node %s was started with --found, too, and of these nodes it founds the cluster, since it has the lowest id", first)
	}
	// The first of several empty seeds founds the cluster without a command.
	for _, g := range others {
		if !g.Meta.GetFounds() && len(f.Seeds) > 1 && index != 1 && g.Meta.GetSeedIndex() == 1 && g.Meta.GetSeedsHash() == gossip.SeedsHash(f.Seeds) {
			return nil, fmt.Sprintf("every seed is empty, so that node %s, the first of them, founds the cluster", g.Meta.GetName())
		}
	}
	return others, ""
}

// precedes returns the name of the process that founds the cluster instead of this one: the one
// with the lowest id among those that follow no cluster and were started with --found.
func (f *Founder) precedes() (name string, ok bool) {
	least := f.Self.ID
	for _, g := range f.Gossip.Processes() {
		if id := g.Meta.GetIdentity().GetId(); g.Meta.GetFounds() && len(g.Meta.GetClusterId()) == 0 && id < least {
			least, name, ok = id, g.Meta.GetName(), true
		}
	}
	return name, ok
}

// waitJoin is the reason of a process that does not found a cluster because another one does.
const waitJoin = "another process founds the cluster, or has"

// seedsReady returns the other seeds if this process is the first of them and all the others are
// there, are empty, and have the same list. Otherwise it returns why not.
func (f *Founder) seedsReady() (others []gossip.Process, why string) {
	index, unique, err := f.Place()
	hash := gossip.SeedsHash(f.Seeds)
	for _, g := range f.Gossip.Processes() {
		if g.Meta.GetSeedIndex() > 0 && g.Meta.GetSeedsHash() != hash && len(g.Meta.GetClusterId()) == 0 && index > 0 {
			return nil, fmt.Sprintf("node %s has another list of seeds: mesh.seeds must be the same everywhere, in the same order", g.Meta.GetName())
		}
	}
	switch {
	case err != nil:
		return nil, err.Error()
	case index != 1:
		return nil, waitJoin
	case len(f.Seeds) == 1:
		// With no other process to ask, a node that has lost its data would found a second cluster
		// beside its old one.
		return nil, "the only seed founds a cluster only with --found"
	case !unique:
		return nil, "the first of mesh.seeds stands for several processes, so nobody can tell who founds the cluster"
	}
	missing := map[uint32]bool{}
	for i := range f.Seeds[1:] {
		missing[uint32(i+2)] = true
	}
	for _, g := range f.Gossip.Processes() {
		if len(g.Meta.GetClusterId()) > 0 && !f.SameCluster(g.Meta.GetClusterId()) {
			return nil, waitJoin
		}
		if i := g.Meta.GetSeedIndex(); missing[i] {
			delete(missing, i)
			others = append(others, g)
		}
	}
	if len(missing) > 0 {
		var names []string
		for i := range missing {
			names = append(names, f.Seeds[i-1])
		}
		slices.Sort(names)
		return nil, "waits for seed " + strings.Join(names, ", ")
	}
	return others, ""
}

// found makes this process the first voter of a new cluster, after all others have promised to
// follow it. This process promises first, so that after a crash it continues with the same cluster.
func (f *Founder) found(ctx context.Context, others []gossip.Process) (why string) {
	id, _, ok := f.Data.Promise()
	if why := f.allFree(ctx, id, others); why != "" {
		return why
	}
	if !ok {
		id = make([]byte, 16)
		rand.Read(id) //nolint:errcheck // never fails, see crypto/rand
		if err := f.Promise(id, f.Self); err != nil {
			return err.Error()
		}
	}
	for _, g := range others {
		turn, cancel := context.WithTimeout(ctx, f.Views.Lease())
		resp, err := f.Peers.Promise(turn, g.Meta.GetPeer(), ringproto.DecodeIdentity(g.Meta.GetIdentity()),
			&peerv1.PromiseRequest{ClusterId: id, Founder: ringproto.EncodeIdentity(f.Self)})
		cancel()
		if err != nil {
			return fmt.Sprintf("seed %s does not promise: %v", g.Meta.GetName(), err)
		}
		if !resp.GetPromised() {
			return fmt.Sprintf("seed %s does not promise: %s", g.Meta.GetName(), resp.GetWhy())
		}
	}
	if err := f.Raft.Bootstrap(); err != nil {
		return err.Error()
	}
	f.Log.Info("founded the cluster", "cluster", fmt.Sprintf("%x", id))
	return ""
}

// allFree asks the others, before any of them makes a promise, whether they are empty or have
// already promised to follow this process. It returns why not, or "".
func (f *Founder) allFree(ctx context.Context, id []byte, others []gossip.Process) (why string) {
	for _, g := range others {
		turn, cancel := context.WithTimeout(ctx, f.Views.Lease())
		theirs, err := f.Peers.ClusterOf(turn, g.Meta.GetPeer(), ringproto.DecodeIdentity(g.Meta.GetIdentity()))
		cancel()
		if err != nil {
			return fmt.Sprintf("seed %s does not answer: %v", g.Meta.GetName(), err)
		}
		if len(theirs) > 0 && !bytes.Equal(theirs, id) {
			return fmt.Sprintf("seed %s follows another cluster", g.Meta.GetName())
		}
	}
	return ""
}
