package mesh

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

// founder starts a cluster if it is for this process to start one (V0).
type founder struct {
	self ring.Identity
	// wanted: an operator said --found. seeds are those of the configuration.
	wanted bool
	seeds  []string
	data   *identity.Dir
	views  *epoch.Views
	gossip *gossip.Gossip
	raft   *view.Raft
	peers  *peer.Client
	// promise binds this process to a cluster, sameCluster reports whether it follows one, and
	// place says which of the seeds it is.
	promise     func(cluster []byte, founder ring.Identity) error
	sameCluster func(id []byte) bool
	place       func() (index int, unique bool, err error)
	// say is told why no cluster is founded yet; "" if that is not for this process to do.
	say func(why string)
	log *slog.Logger
}

// run starts a cluster if it is for this process to start one (V0). It returns
// when the cluster is born, or follows another process.
func (f *founder) run(ctx context.Context) {
	id, founder, ok := f.data.Promise()
	// It follows a cluster, or promised to; or it has founded one, or resumes that when it
	// leads.
	if ok && founder.ID != f.self.ID || f.raft.Existing() {
		if f.wanted {
			f.log.Info("--found is ignored: the data directory belongs to a mesh already", "cluster", fmt.Sprintf("%x", id))
		}
		return
	}
	tick := time.NewTicker(f.views.Lease() / 4)
	defer tick.Stop()
	defer f.say("")
	warned := ""
	for ctx.Err() == nil {
		others, why := f.mayFound()
		if why == "" {
			if why = f.found(ctx, others); why == "" {
				return
			}
		}
		if why == waitJoin {
			f.say("")
		} else {
			f.say(why)
		}
		if why != warned && why != waitJoin {
			warned = why
			if f.wanted {
				f.log.Warn("--found: no cluster is founded", "why", why)
			} else {
				f.log.Info("cluster not founded yet", "why", why)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-f.gossip.Changed():
		case <-f.views.Changed():
		}
		if id, by, ok := f.data.Promise(); ok && by.ID != f.self.ID || len(id) > 0 && f.views.Now() != nil {
			return
		}
	}
}

// mayFound returns the processes whose promise is needed before this one founds a cluster
// (V0), or why it must not.
func (f *founder) mayFound() (others []gossip.Process, why string) {
	if !f.wanted {
		return f.seedsReady()
	}
	if others, why = f.seedsEmpty(); why == "" && len(others) == 0 {
		f.log.Warn("--found: founding a mesh without asking other nodes, because mesh.seeds names none; " +
			"if this node has lost the data directory of a mesh that still runs, both meshes grant the same keys")
	}
	return others, why
}

// seedsEmpty returns the other seeds if all of them are there and none follows a cluster,
// as --found wants it. Otherwise it says why not, and who lives where.
func (f *founder) seedsEmpty() (others []gossip.Process, why string) {
	var living []string
	for _, g := range f.gossip.Processes() {
		if id := g.Meta.GetClusterId(); len(id) > 0 && !f.sameCluster(id) {
			living = append(living, fmt.Sprintf("node %s at %s (gossip %s) in mesh %x", g.Meta.GetName(), g.Meta.GetPeer(), g.Addr, id))
		}
	}
	if len(living) > 0 {
		slices.Sort(living)
		return nil, "a mesh lives already, which this node joins: " + strings.Join(living, ", ")
	}
	if len(f.seeds) == 0 {
		return nil, ""
	}
	index, _, err := f.place()
	if err != nil {
		return nil, err.Error()
	}
	others, missing, err := f.gossip.SeedProcesses()
	switch {
	case err != nil:
		return nil, err.Error()
	case len(missing) > 0:
		return nil, "every seed has to answer that it is empty; no answer yet from " + strings.Join(missing, ", ")
	}
	// The first of several empty seeds founds the cluster without a command. Two that
	// found one at the same time would refuse each other.
	for _, g := range others {
		if len(f.seeds) > 1 && index != 1 && g.Meta.GetSeedIndex() == 1 && g.Meta.GetSeedsHash() == gossip.SeedsHash(f.seeds) {
			return nil, fmt.Sprintf("every seed is empty, so that node %s, the first of them, founds the cluster", g.Meta.GetName())
		}
	}
	return others, ""
}

// waitJoin: it is not for this process to found a cluster.
const waitJoin = "another process founds the cluster, or has"

// seedsReady gives the other seeds, if this process is the first of them and all
// the others are there, empty, and have the same list. Otherwise it says why not.
func (f *founder) seedsReady() (others []gossip.Process, why string) {
	index, unique, err := f.place()
	hash := gossip.SeedsHash(f.seeds)
	for _, g := range f.gossip.Processes() {
		if g.Meta.GetSeedIndex() > 0 && g.Meta.GetSeedsHash() != hash && len(g.Meta.GetClusterId()) == 0 && index > 0 {
			return nil, fmt.Sprintf("node %s has another list of seeds: mesh.seeds must be the same everywhere, in the same order", g.Meta.GetName())
		}
	}
	switch {
	case err != nil:
		return nil, err.Error()
	case index != 1:
		return nil, waitJoin
	case len(f.seeds) == 1:
		// With nobody to ask, a node that lost its data would found a second
		// cluster beside the one that it was in.
		return nil, "the only seed founds a cluster only with --found"
	case !unique:
		return nil, "the first of mesh.seeds stands for several processes, so nobody can tell who founds the cluster"
	}
	missing := map[uint32]bool{}
	for i := range f.seeds[1:] {
		missing[uint32(i+2)] = true
	}
	for _, g := range f.gossip.Processes() {
		if len(g.Meta.GetClusterId()) > 0 && !f.sameCluster(g.Meta.GetClusterId()) {
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
			names = append(names, f.seeds[i-1])
		}
		slices.Sort(names)
		return nil, "waits for seed " + strings.Join(names, ", ")
	}
	return others, ""
}

// found makes this process the first voter of a new cluster, once all others have
// promised to follow. The own promise comes first: so a founder that crashes goes
// on with the same cluster when it is back.
func (f *founder) found(ctx context.Context, others []gossip.Process) (why string) {
	id, _, ok := f.data.Promise()
	if why := f.allFree(ctx, id, others); why != "" {
		return why
	}
	if !ok {
		id = make([]byte, 16)
		rand.Read(id) //nolint:errcheck // never fails, see crypto/rand
		if err := f.promise(id, f.self); err != nil {
			return err.Error()
		}
	}
	for _, g := range others {
		turn, cancel := context.WithTimeout(ctx, f.views.Lease())
		resp, err := f.peers.Promise(turn, g.Meta.GetPeer(), ringproto.DecodeIdentity(g.Meta.GetIdentity()),
			&peerv1.PromiseRequest{ClusterId: id, Founder: ringproto.EncodeIdentity(f.self)})
		cancel()
		if err != nil {
			return fmt.Sprintf("seed %s does not promise: %v", g.Meta.GetName(), err)
		}
		if !resp.GetPromised() {
			return fmt.Sprintf("seed %s does not promise: %s", g.Meta.GetName(), resp.GetWhy())
		}
	}
	if err := f.raft.Bootstrap(); err != nil {
		return err.Error()
	}
	f.log.Info("founded the cluster", "cluster", fmt.Sprintf("%x", id))
	return ""
}

// allFree asks the others, before anybody is bound, whether they are empty (or
// have promised to follow this process already).
func (f *founder) allFree(ctx context.Context, id []byte, others []gossip.Process) (why string) {
	for _, g := range others {
		turn, cancel := context.WithTimeout(ctx, f.views.Lease())
		theirs, err := f.peers.ClusterOf(turn, g.Meta.GetPeer(), ringproto.DecodeIdentity(g.Meta.GetIdentity()))
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
