package gossip

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/sgkandale/sharelock/internal/logbridge"
	"github.com/sgkandale/sharelock/internal/ringproto"
	"github.com/sgkandale/sharelock/internal/wake"
	"github.com/sgkandale/sharelock/mesh/keyring"
	"github.com/sgkandale/sharelock/mesh/network"
	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
)

// defaultUnit is Config.Unit if that is 0.
const defaultUnit = 500 * time.Millisecond

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
)

// Config is what gossip needs to know.
type Config struct {
	// Meta says who this process is. Its identity, name and cluster stay the
	// same; the rest may change with UpdateMeta.
	Meta *peerv1.Meta
	// Listen is where to listen, TCP and UDP. Advertise is where others reach
	// that, empty to find out.
	Listen, Advertise string
	// Seeds are addresses or names, the port may be missing.
	Seeds []string
	// Unit is the base of all intervals: how often a process probes another. A crash is
	// known to all after about six of them. 0 is half a second.
	Unit time.Duration
	// Encryption is how gossip is encrypted; Auto is Off. Keys are those at the start, see
	// SetKeys; Required needs one.
	Encryption keyring.Mode
	Keys       keyring.Ring
	Network    network.Network
	// Streams wraps the listener of streams, to answer those of strangers. It may be nil.
	Streams func(net.Listener) net.Listener
	// Log is never nil.
	Log *slog.Logger
}

// Gossip finds other processes of this mesh. It decides nothing: what it knows
// is where a process was heard of, and perhaps still is.
//
// All methods may be called from several goroutines.
type Gossip struct {
	cfg       Config
	unit      time.Duration
	transport *transport
	self      netip.AddrPort
	table     *table
	list      *memberlist.Memberlist
	refusals  refusals
	// keys are those of memberlist, nil without encryption; setting serialises changes of them.
	// sealer is nil unless this process migrates.
	keys    *memberlist.Keyring
	setting sync.Mutex
	sealer  *sealer
	update  wake.Signal // the meta has changed
	cancel  context.CancelFunc
	ctx     context.Context // ends with close
	wg      sync.WaitGroup

	ending sync.Once

	mu    sync.Mutex // guards what follows
	known []string
	// attempts are the last attempts to join, by seed.
	attempts map[string]attempt
}

// Start listens and begins to look for the seeds. It does not wait until
// it has found any.
func Start(cfg Config) (*Gossip, error) {
	if err := checkMeta(cfg.Meta, clusterIDRoom); err != nil {
		return nil, err
	}
	g := &Gossip{cfg: cfg, unit: cfg.Unit, update: wake.New(), refusals: refusals{log: cfg.Log}}
	if g.unit == 0 {
		g.unit = defaultUnit
	}
	g.ctx, g.cancel = context.WithCancel(context.Background())
	err := g.openKeys()
	if err == nil {
		g.transport, err = newTransport(g.ctx, cfg, g.sealer)
	}
	if err != nil {
		g.cancel()
		return nil, fmt.Errorf("gossip: %w", err)
	}
	lookup, cancel := context.WithTimeout(g.ctx, lookupTimeout)
	defer cancel()
	g.self, err = network.Advertise(lookup, cfg.Network, cfg.Advertise, g.transport.listener.Addr())
	if err == nil {
		g.table, err = newTable(cfg.Meta, g.self, g.sealer)
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
func (g *Gossip) memberlistConfig() *memberlist.Config {
	c := memberlist.DefaultLANConfig()
	// Every boot has its own name: a name that comes back with another address or
	// other data confuses memberlist for half a minute.
	c.Name = ringproto.DecodeIdentity(g.cfg.Meta.GetIdentity()).String()
	c.Transport = g.transport
	c.Label = label(g.cfg.Meta.GetCluster())
	c.AdvertiseAddr, c.AdvertisePort = g.self.Addr().String(), int(g.self.Port())
	c.BindPort = c.AdvertisePort
	c.ProbeInterval, c.ProbeTimeout = g.unit, g.unit/2
	c.SuspicionMult, c.SuspicionMaxTimeoutMult = 4, 3
	c.GossipInterval = g.unit / 5
	c.PushPullInterval = exchangeEvery * g.unit
	c.TCPTimeout = 10 * g.unit
	c.GossipToTheDeadTime = 60 * g.unit
	c.EnableCompression = false // a packet has a few hundred bytes
	c.Logger = logbridge.NewWrappedLog(g.cfg.Log, g.refusals.filter)
	c.Delegate, c.Events, c.Alive, c.Merge = g.table, g.table, g.table, g.table
	// Names are resolved here, through the Network.
	c.DNSConfigPath = ""
	g.encrypt(c)
	return c
}

// Addr is the host:port at which others reach this process's gossip.
func (g *Gossip) Addr() string { return g.self.String() }

// Processes returns the processes of this mesh that are believed to live, this one
// among them, in no order. The caller owns the answer.
func (g *Gossip) Processes() []Process { return g.table.nodes() }

// Changed gets a value after Processes has changed; several changes may be one
// value.
func (g *Gossip) Changed() <-chan struct{} { return g.table.changed }

// Replaced is closed when Successor has heard of a mesh that was recovered from this one's
// records.
func (g *Gossip) Replaced() <-chan struct{} { return g.table.replaced }

// Successor returns a process of that mesh; the zero value is none.
func (g *Gossip) Successor() Process {
	g.table.mu.Lock()
	defer g.table.mu.Unlock()
	if g.table.successor == nil {
		return Process{}
	}
	return *g.table.successor
}

// UpdateMeta says something new of this process. It does not wait until the
// others know.
func (g *Gossip) UpdateMeta(meta *peerv1.Meta) error {
	if err := checkMeta(meta, 0); err != nil {
		return err
	}
	if err := g.table.setOwn(meta); err != nil {
		return err
	}
	g.update.Set()
	return nil
}

// SetKnown names more addresses to look for, besides the seeds: those of the
// last view's members.
func (g *Gossip) SetKnown(addrs []string) {
	known := append([]string(nil), addrs...)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.known = known
}

// Close stops without a word: to the others it looks like a crash. It waits for
// this package's goroutines and may be called twice.
func (g *Gossip) Close() (err error) {
	g.ending.Do(func() {
		g.cancel()
		err = g.list.Shutdown() // closes the transport, which ends joins
		g.wg.Wait()
	})
	if err != nil {
		return fmt.Errorf("gossip: %w", err)
	}
	return nil
}

// publish tells the others of a new Meta. It is one goroutine, because
// memberlist reads its own entry without a lock in UpdateNode.
func (g *Gossip) publish() {
	for {
		select {
		case <-g.update:
		case <-g.ctx.Done():
			return
		}
		// After the timeout it still travels with the next push and pull.
		if err := g.list.UpdateNode(2 * g.unit); err != nil {
			g.cfg.Log.Debug("gossip meta not sent yet", "error", err)
		}
	}
}

// rejoin joins whoever should be there and is not: memberlist itself never looks
// again for a process that it has declared dead.
func (g *Gossip) rejoin() {
	unresolved := make(map[string]bool)
	for {
		g.joinMissing(unresolved)
		// Every ten units, not all processes at once.
		wait := g.unit * time.Duration(75+rand.IntN(50)) / 10 //nolint:gosec // spreads calls over time, and is no secret
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
func (g *Gossip) joinMissing(unresolved map[string]bool) {
	g.mu.Lock()
	wanted := append(append([]string(nil), g.cfg.Seeds...), g.known...)
	g.mu.Unlock()
	own, err := g.OwnAddrs()
	if err != nil {
		g.cfg.Log.Warn("cannot list the addresses of this machine", "error", err)
	}
	alive := g.table.addrs()
	missing := make(map[string]struct{})
	for _, name := range wanted {
		addrs, err := g.Lookup(name)
		if g.ctx.Err() != nil {
			return
		}
		if err != nil && !unresolved[name] {
			g.cfg.Log.Warn("cannot resolve a gossip address, will try again", "address", name, "error", err)
		}
		unresolved[name] = err != nil
		g.noteLookup(name, addrs, err)
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
			g.joinOne(addr)
		})
	}
	joins.Wait()
}

// joinOne joins the process at an address. While this one migrates it does not know whether the
// other reads what is encrypted, and tries both.
func (g *Gossip) joinOne(addr string) {
	if g.sealer != nil {
		g.sealer.assume(addr, true)
	}
	_, err := g.list.Join([]string{addr})
	if err != nil && g.sealer != nil && whyRefused(err) != "" {
		g.sealer.assume(addr, false)
		_, err = g.list.Join([]string{addr})
	}
	g.noteJoin(addr, err)
	if err != nil && g.ctx.Err() == nil && !g.refusals.joinFailed(addr, err) {
		g.cfg.Log.Debug("join", "address", addr, "error", err)
	}
}
