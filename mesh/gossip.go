package mesh

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
	"google.golang.org/protobuf/proto"

	"github.com/sgkandale/sharelock/mesh/network"
	"github.com/sgkandale/sharelock/mesh/view"
	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
)

// gossipUnit is the base of all of gossip's intervals: how often a process
// probes another. A crash is known to all after about six of them.
const gossipUnit = 500 * time.Millisecond

const (
	// exchangeEvery is how many units pass between two exchanges of whole lists with
	// a process chosen by chance. They are what makes gossip reliable: memberlist
	// 0.7.0 can lose an update in its own queue, where entries are told apart by
	// length and a counter that starts again whenever the queue was empty. A mesh
	// that is to be founded waits for exactly such an update.
	exchangeEvery = 10
	// lookupTimeout bounds the resolution of one name.
	lookupTimeout = 5 * time.Second
	// maxJoins is how many addresses are tried at once.
	maxJoins = 8
	// clusterIDRoom is what a cluster id of the longest kind takes in a Meta.
	clusterIDRoom = 2 + maxClusterID
)

// errMetaTooLarge: what a process says of itself does not fit into gossip.
var errMetaTooLarge = errors.New("name, cluster name and addresses are too long for gossip together")

// gossipConfig is what gossip needs to know.
type gossipConfig struct {
	// meta says who this process is. Its identity, name and cluster stay the
	// same; the rest may change with updateMeta.
	meta *peerv1.Meta
	// listen is where to listen, TCP and UDP. advertise is where others reach
	// that, empty to find out.
	listen, advertise string
	// seeds are addresses or names, the port may be missing.
	seeds []string
	// unit is the base of all intervals; 0 is gossipUnit.
	unit    time.Duration
	network network.Network
	// log is never nil.
	log *slog.Logger
}

// gossip finds other processes of this mesh. It decides nothing: what it knows
// is where a process was heard of, and perhaps still is.
//
// All methods may be called from several goroutines.
type gossip struct {
	cfg       gossipConfig
	unit      time.Duration
	transport *gossipTransport
	self      netip.AddrPort
	table     *gossipTable
	list      *memberlist.Memberlist
	update    chan struct{} // capacity 1: the meta has changed
	cancel    context.CancelFunc
	ctx       context.Context // ends with close
	wg        sync.WaitGroup

	// ending has room for one: it serialises leave and close, since memberlist
	// panics when it is told to leave after its end. It is no mutex because leave
	// waits while it has it.
	ending chan struct{}
	ended  bool // guarded by ending

	mu    sync.Mutex // guards known
	known []string
}

// startGossip listens and begins to look for the seeds. It does not wait until
// it has found any.
func startGossip(cfg gossipConfig) (*gossip, error) {
	if err := checkMeta(cfg.meta, clusterIDRoom); err != nil {
		return nil, err
	}
	g := &gossip{cfg: cfg, unit: cfg.unit, update: make(chan struct{}, 1), ending: make(chan struct{}, 1)}
	if g.unit == 0 {
		g.unit = gossipUnit
	}
	g.ctx, g.cancel = context.WithCancel(context.Background())
	var err error
	if g.transport, err = newGossipTransport(g.ctx, cfg.network, cfg.listen, cfg.log); err != nil {
		g.cancel()
		return nil, fmt.Errorf("gossip: %w", err)
	}
	lookup, cancel := context.WithTimeout(g.ctx, lookupTimeout)
	defer cancel()
	g.self, err = network.Advertise(lookup, cfg.network, cfg.advertise, g.transport.listener.Addr())
	if err == nil {
		g.table, err = newGossipTable(cfg.meta, g.self)
	}
	if err == nil {
		g.list, err = memberlist.Create(g.memberlistConfig())
	}
	if err != nil {
		g.cancel()
		return nil, errors.Join(fmt.Errorf("gossip: %w", err), g.transport.Shutdown())
	}
	g.wg.Go(g.publish)
	g.wg.Go(g.rejoin)
	return g, nil
}

// memberlistConfig is the "middle" profile: a crash is known to all in about
// three seconds with the default unit.
func (g *gossip) memberlistConfig() *memberlist.Config {
	c := memberlist.DefaultLANConfig()
	// Every boot has its own name: a name that comes back with another address or
	// other data confuses memberlist for half a minute.
	c.Name = view.IdentityFromProto(g.cfg.meta.GetIdentity()).String()
	c.Transport = g.transport
	c.Label = gossipLabel(g.cfg.meta.GetCluster())
	c.AdvertiseAddr, c.AdvertisePort = g.self.Addr().String(), int(g.self.Port())
	c.BindPort = c.AdvertisePort
	c.ProbeInterval, c.ProbeTimeout = g.unit, g.unit/2
	c.SuspicionMult, c.SuspicionMaxTimeoutMult = 4, 3
	c.GossipInterval = g.unit / 5
	c.PushPullInterval = exchangeEvery * g.unit
	c.TCPTimeout = 10 * g.unit
	c.GossipToTheDeadTime = 60 * g.unit
	c.EnableCompression = false // a packet has a few hundred bytes
	c.Logger = newLogLogger(g.cfg.log)
	c.Delegate, c.Events, c.Alive, c.Merge = g.table, g.table, g.table, g.table
	// Names are resolved here, through the Network.
	c.DNSConfigPath = ""
	return c
}

// gossipLabel keeps meshes of different names apart on the wire, whatever the
// length of the name.
func gossipLabel(cluster string) string {
	sum := sha256.Sum256([]byte(cluster))
	return "sharelock-1-" + hex.EncodeToString(sum[:16])
}

// fitting returns the newest of some cluster ids that a Meta without them has room for.
func fitting(meta *peerv1.Meta, ids [][]byte) [][]byte {
	room := memberlist.MetaMaxSize - proto.Size(meta)
	for i := len(ids) - 1; i >= 0; i-- {
		if room -= 2 + len(ids[i]); room < 0 {
			return ids[i+1:]
		}
	}
	return ids
}

// checkMeta says whether a Meta fits, with room for what may be added later.
func checkMeta(meta *peerv1.Meta, room int) error {
	if len(meta.GetClusterId()) > 0 {
		room = 0
	}
	if size := proto.Size(meta) + room; size > memberlist.MetaMaxSize {
		return fmt.Errorf("%w: node name %d bytes, cluster name %d, addresses %d, the most for all is %d",
			errMetaTooLarge, len(meta.GetName()), len(meta.GetCluster()),
			len(meta.GetPeer())+len(meta.GetHttp())+len(meta.GetGrpc()), memberlist.MetaMaxSize-(size-proto.Size(meta)))
	}
	return nil
}

// addr is the host:port at which others reach this process's gossip.
func (g *gossip) addr() string { return g.self.String() }

// nodes are the processes of this mesh that are believed to live, this one
// among them, in no order. The caller owns the answer.
func (g *gossip) nodes() []gossipNode { return g.table.nodes() }

// changed gets a value after nodes has changed; several changes may be one
// value.
func (g *gossip) changed() <-chan struct{} { return g.table.changed }

// replaced is closed when successor has heard of a mesh that was recovered from this one's
// records.
func (g *gossip) replaced() <-chan struct{} { return g.table.replaced }

// successor is a process of that mesh; the zero value is none.
func (g *gossip) successor() gossipNode {
	g.table.mu.Lock()
	defer g.table.mu.Unlock()
	if g.table.successor == nil {
		return gossipNode{}
	}
	return *g.table.successor
}

// updateMeta says something new of this process. It does not wait until the
// others know.
func (g *gossip) updateMeta(meta *peerv1.Meta) error {
	if err := checkMeta(meta, 0); err != nil {
		return err
	}
	if err := g.table.setOwn(meta); err != nil {
		return err
	}
	select {
	case g.update <- struct{}{}:
	default: // publish has yet to take the last one, and will read this Meta
	}
	return nil
}

// setKnown names more addresses to look for, besides the seeds: those of the
// last view's members.
func (g *gossip) setKnown(addrs []string) {
	known := append([]string(nil), addrs...)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.known = known
}

// leave tells the others that this process goes, and waits until that is on its
// way or for the timeout. Only close can follow.
func (g *gossip) leave(timeout time.Duration) error {
	g.ending <- struct{}{}
	defer func() { <-g.ending }()
	if g.ended {
		return nil
	}
	if err := g.list.Leave(timeout); err != nil {
		return fmt.Errorf("gossip: leave: %w", err)
	}
	return nil
}

// close stops without a word; without leave it looks like a crash. It waits for
// this package's goroutines and may be called twice.
func (g *gossip) close() error {
	g.ending <- struct{}{}
	defer func() { <-g.ending }()
	if g.ended {
		return nil
	}
	g.ended = true
	g.cancel()
	err := g.list.Shutdown() // closes the transport, which ends joins
	g.wg.Wait()
	if err != nil {
		return fmt.Errorf("gossip: %w", err)
	}
	return nil
}

// publish tells the others of a new Meta. It is one goroutine, because
// memberlist reads its own entry without a lock in UpdateNode.
func (g *gossip) publish() {
	for {
		select {
		case <-g.update:
		case <-g.ctx.Done():
			return
		}
		// After the timeout it still travels with the next push and pull.
		if err := g.list.UpdateNode(2 * g.unit); err != nil {
			g.cfg.log.Debug("meta not yet passed on", "error", err)
		}
	}
}

// rejoin joins whoever should be there and is not: memberlist itself never looks
// again for a process that it has declared dead.
func (g *gossip) rejoin() {
	unresolved := make(map[string]bool)
	for {
		g.joinMissing(unresolved)
		// Every ten units, not all processes at once.
		wait := g.unit * time.Duration(75+rand.IntN(50)) / 10
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-g.ctx.Done():
			timer.Stop()
			return
		}
	}
}

// joinMissing tries every address that is not alive. unresolved are names whose
// trouble has been reported.
func (g *gossip) joinMissing(unresolved map[string]bool) {
	g.mu.Lock()
	wanted := append(append([]string(nil), g.cfg.seeds...), g.known...)
	g.mu.Unlock()
	own, err := g.ownAddrs()
	if err != nil {
		g.cfg.log.Warn("addresses of this machine", "error", err)
	}
	alive := g.table.addrs()
	missing := make(map[string]struct{})
	for _, name := range wanted {
		addrs, err := g.lookup(name)
		if g.ctx.Err() != nil {
			return
		}
		if err != nil && !unresolved[name] {
			g.cfg.log.Warn("cannot resolve a gossip address, will try again", "address", name, "error", err)
		}
		unresolved[name] = err != nil
		for _, addr := range addrs {
			if !own[addr] && !alive[addr.String()] {
				missing[addr.String()] = struct{}{}
			}
		}
	}
	var joins sync.WaitGroup
	slots := make(chan struct{}, maxJoins)
	for addr := range missing {
		slots <- struct{}{}
		joins.Go(func() {
			defer func() { <-slots }()
			if _, err := g.list.Join([]string{addr}); err != nil && g.ctx.Err() == nil {
				g.cfg.log.Debug("join", "address", addr, "error", err)
			}
		})
	}
	joins.Wait()
}

// lookup resolves a gossip address.
func (g *gossip) lookup(name string) ([]netip.AddrPort, error) {
	ctx, cancel := context.WithTimeout(g.ctx, lookupTimeout)
	defer cancel()
	return network.Resolve(ctx, g.cfg.network, name, g.transport.port)
}

// ownAddrs are the addresses that lead to this very process: where it
// advertises, where it listens, and if that is everywhere, the port at every
// address of this machine. (Another process may listen on the same port at
// another address, so a process that listens at one has just that one.)
func (g *gossip) ownAddrs() (map[netip.AddrPort]bool, error) {
	own := map[netip.AddrPort]bool{g.self: true}
	bound, err := netip.ParseAddrPort(g.transport.listener.Addr().String())
	if err != nil {
		return own, err
	}
	if !bound.Addr().IsUnspecified() {
		own[netip.AddrPortFrom(bound.Addr().Unmap(), bound.Port())] = true
		return own, nil
	}
	addrs, err := network.InterfaceAddrs()
	for _, ip := range addrs {
		own[netip.AddrPortFrom(ip, bound.Port())] = true
	}
	return own, err
}

// seedIndex says which of the seeds is this process, from 1; 0 is none. unique
// is false if another process could say the same of that entry, or this one of
// another entry; then nobody may found a cluster (V0). An error says that this
// process is none of the seeds that could be resolved.
func (g *gossip) seedIndex() (index int, unique bool, err error) {
	own, err := g.ownAddrs()
	if err != nil {
		return 0, false, fmt.Errorf("gossip: addresses of this machine: %w", err)
	}
	unique = true
	var failed []error
	for i, seed := range g.cfg.seeds {
		addrs, err := g.lookup(seed)
		if err != nil {
			failed = append(failed, fmt.Errorf("gossip: seed %s: %w", seed, err))
			continue
		}
		mine := 0
		for _, addr := range addrs {
			if own[addr] {
				mine++
			}
		}
		if mine == 0 {
			continue
		}
		if index != 0 || mine < len(addrs) {
			unique = false
		}
		if index == 0 {
			index = i + 1
		}
	}
	if index == 0 {
		return 0, false, errors.Join(failed...)
	}
	return index, unique, nil
}

// seedNodes returns the processes that live at the addresses of the seeds, this one left
// out. missing are the seeds of which some address has not been resolved, or has nobody
// that answers.
func (g *gossip) seedNodes() (there []gossipNode, missing []string, err error) {
	own, err := g.ownAddrs()
	if err != nil {
		return nil, nil, fmt.Errorf("gossip: addresses of this machine: %w", err)
	}
	at := map[string]gossipNode{}
	for _, n := range g.nodes() {
		at[n.gossipAddr] = n
	}
	for _, seed := range g.cfg.seeds {
		addrs, err := g.lookup(seed)
		absent := err != nil
		for _, addr := range addrs {
			if own[addr] {
				continue
			}
			n, ok := at[addr.String()]
			if absent = absent || !ok; ok {
				there = append(there, n)
			}
		}
		if absent {
			missing = append(missing, seed)
		}
	}
	return there, missing, nil
}
