package memnet

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"
)

// Net is a network in memory: machines with an IP address each, streams that
// behave like TCP, datagrams that behave like UDP, names, and faults.
//
// It works inside a testing/synctest bubble: whoever waits on it waits for a
// condition variable, a channel or a timer and holds no lock, so that virtual
// time passes. Outside a bubble it works in real time.
//
// Faults are whole. A cut holds the bytes of a stream and lets them go, in order
// and complete, when it is mended; it drops datagrams. No fault ever takes
// bytes out of the middle of a stream.
//
// Machines are named; every name that is not known yet gets the next free
// address, so the same order of calls gives the same addresses. All methods are
// safe for concurrent use.
type Net struct {
	mu sync.Mutex
	// Everything below, and every stream, socket and listener of the network, is
	// guarded by mu. Nobody holds it while waiting.

	machines map[string]*machine
	byIP     map[netip.Addr]*machine
	names    map[string][]string
	links    map[link]fault
	conns    map[*conn]struct{}
	loss     float64
	doubling float64
	rnd      *rand.Rand
	// changed is closed and replaced when a fault begins or ends: dials that
	// could not get through look again.
	changed chan struct{}
}

// machine is what has an address. Processes on it come and go.
type machine struct {
	name string
	ip   netip.Addr
	// process is the one that runs now; nil after Kill and Crash.
	process *Host
	// frozen: nothing goes in or out, but nothing is lost either.
	frozen bool
	// dark: the machine is off. Nobody hears anything from it.
	dark bool
	// deaf are ports at which nothing arrives.
	deaf map[uint16]bool
	// orphans are the far ends of the streams that a crash left behind.
	orphans []*conn

	listeners map[uint16]*listener
	sockets   map[uint16]*packetConn
	nextPort  uint16
}

// link is one direction between two machines.
type link struct{ from, to *machine }

// fault is what is wrong with a link.
type fault struct {
	cut   bool
	delay time.Duration
	// walled holds the streams that from opens to to, in both directions.
	walled bool
}

// New makes an empty network. The seed decides which datagrams are lost or
// doubled.
func New(seed uint64) *Net {
	return &Net{
		machines: make(map[string]*machine),
		byIP:     make(map[netip.Addr]*machine),
		names:    make(map[string][]string),
		links:    make(map[link]fault),
		conns:    make(map[*conn]struct{}),
		rnd:      rand.New(rand.NewPCG(seed, seed)),
		changed:  make(chan struct{}),
	}
}

// Host is the network as the process on this machine sees it. After [Net.Kill]
// or [Net.Crash] it starts a new process, which the old one's streams and
// sockets do not belong to.
func (n *Net) Host(name string) *Host {
	n.mu.Lock()
	defer n.mu.Unlock()
	m := n.machine(name)
	if m.process == nil {
		m.process = &Host{net: n, machine: m}
	}
	if m.dark {
		m.dark = false
		n.boot(m)
	}
	return m.process
}

// machine finds or makes the machine of this name.
func (n *Net) machine(name string) *machine {
	if m, ok := n.machines[name]; ok {
		return m
	}
	number := len(n.machines) + 1
	m := &machine{
		name:      name,
		ip:        netip.AddrFrom4([4]byte{10, 0, byte(number >> 8), byte(number)}),
		listeners: make(map[uint16]*listener),
		sockets:   make(map[uint16]*packetConn),
		deaf:      make(map[uint16]bool),
		nextPort:  firstEphemeral,
	}
	n.machines[name] = m
	n.byIP[m.ip] = m
	return m
}

// Resolve makes a name stand for the addresses of these machines, in this order,
// and for nothing any more if there are none. Machines' own names need no
// entry; one given here wins.
func (n *Net) Resolve(name string, machines ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	addrs := make([]string, len(machines))
	for i, m := range machines {
		addrs[i] = n.machine(m).ip.String()
	}
	n.names[name] = addrs
}

// Cut holds everything that goes from one machine to another. The other
// direction goes on. A new stream needs both directions.
func (n *Net) Cut(from, to string) {
	n.change(func() { n.setCut(n.machine(from), n.machine(to), true) })
}

// Wall holds every stream that one machine opens to another, as a firewall would; those
// that are opened the other way go on, in both directions. Datagrams go on, too. Mend ends
// it.
func (n *Net) Wall(from, to string) {
	n.change(func() {
		l := link{n.machine(from), n.machine(to)}
		f := n.links[l]
		f.walled = true
		n.links[l] = f
	})
}

// Mend ends a cut or wall of this direction.
func (n *Net) Mend(from, to string) {
	n.change(func() { n.setCut(n.machine(from), n.machine(to), false) })
}

// Split cuts both directions between machines of different groups. A machine in
// no group keeps all its links. Cuts add up; see Heal.
func (n *Net) Split(groups ...[]string) {
	n.change(func() {
		for i, group := range groups {
			for _, other := range groups[i+1:] {
				n.splitTwo(group, other)
			}
		}
	})
}

func (n *Net) splitTwo(group, other []string) {
	for _, a := range group {
		for _, b := range other {
			n.setCut(n.machine(a), n.machine(b), true)
			n.setCut(n.machine(b), n.machine(a), true)
		}
	}
}

func (n *Net) setCut(from, to *machine, cut bool) {
	f := n.links[link{from, to}]
	f.cut = cut
	f.walled = f.walled && cut
	n.links[link{from, to}] = f
}

// Delay makes everything that leaves from now on take d from one machine to
// another. The order of a stream's bytes is kept.
func (n *Net) Delay(from, to string, d time.Duration) {
	n.change(func() {
		l := link{n.machine(from), n.machine(to)}
		f := n.links[l]
		f.delay = d
		n.links[l] = f
	})
}

// Lose drops this share of all datagrams, 0 to 1.
func (n *Net) Lose(share float64) { n.change(func() { n.loss = share }) }

// Double delivers this share of all datagrams twice, 0 to 1.
func (n *Net) Double(share float64) { n.change(func() { n.doubling = share }) }

// Freeze holds everything from and to a machine, as if it hung: streams stay
// open and their bytes wait, datagrams are lost. What runs on it runs on and
// sees a network that has gone quiet.
func (n *Net) Freeze(name string) { n.change(func() { n.machine(name).frozen = true }) }

// Thaw ends Freeze.
func (n *Net) Thaw(name string) { n.change(func() { n.machine(name).frozen = false }) }

// Deafen holds what new streams and datagrams of other machines bring to one port of a
// machine: the datagrams are lost, dials wait. Streams that are open go on.
func (n *Net) Deafen(name string, port uint16) {
	n.change(func() { n.machine(name).deaf[port] = true })
}

// Undeafen ends Deafen.
func (n *Net) Undeafen(name string, port uint16) {
	n.change(func() { delete(n.machine(name).deaf, port) })
}

// Heal ends every cut, split, delay, loss, doubling, freeze and deafness. Machines that
// crashed stay down.
func (n *Net) Heal() {
	n.change(func() {
		clear(n.links)
		n.loss, n.doubling = 0, 0
		for _, m := range n.machines {
			m.frozen = false
			clear(m.deaf)
		}
	})
}

// Reset breaks every stream between two machines: bytes on their way are lost
// together with the stream, and both ends get "connection reset".
func (n *Net) Reset(a, b string) {
	n.change(func() {
		ma, mb := n.machine(a), n.machine(b)
		for c := range n.conns {
			if c.in.from == ma && c.in.to == mb || c.in.from == mb && c.in.to == ma {
				c.in.flying = nil
				c.in.breakOff()
				c.out.breakOff()
			}
		}
	})
}

// Kill ends the process on a machine at once: its listeners and sockets are
// gone, its streams are reset, and whatever of it still runs can do nothing on
// the network any more. The machine itself answers (connection refused).
func (n *Net) Kill(name string) {
	n.change(func() {
		m := n.machine(name)
		for _, c := range n.ends(m) {
			if !c.closed {
				c.drop()
				c.out.send(segment{kind: segReset})
			}
		}
		m.shut()
	})
}

// Crash is Kill by pulling the plug: the others hear nothing, not even that
// their streams are gone, until the next call of Host for this name.
func (n *Net) Crash(name string) {
	n.change(func() {
		m := n.machine(name)
		m.dark = true
		for _, c := range n.ends(m) {
			if !c.closed {
				c.drop()
			}
			c.out.flying = nil
			m.orphans = append(m.orphans, c.peer)
		}
		m.shut()
	})
}

// ends gives the near ends of a machine's streams.
func (n *Net) ends(m *machine) []*conn {
	var list []*conn
	for c := range n.conns {
		if c.host.machine == m {
			list = append(list, c)
		}
	}
	return list
}

// shut takes the process off the machine.
func (m *machine) shut() {
	if m.process != nil {
		m.process.dead = true
		m.process = nil
	}
	for _, l := range m.listeners {
		l.shut()
	}
	for _, s := range m.sockets {
		s.shut()
	}
}

// boot tells the far ends of streams from before a crash that they are gone.
func (n *Net) boot(m *machine) {
	for _, c := range m.orphans {
		c.in.send(segment{kind: segReset})
	}
	m.orphans = nil
	n.touch()
}

// change applies a fault, or the end of one, and lets go what it held.
func (n *Net) change(f func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f()
	n.touch()
}

func (n *Net) touch() {
	close(n.changed)
	n.changed = make(chan struct{})
	for c := range n.conns {
		c.in.pump()
		c.out.pump()
	}
}

// blocked says whether nothing gets from one machine to the other now.
func (n *Net) blocked(from, to *machine) bool {
	if from.dark || to.dark {
		return true
	}
	return from != to && (from.frozen || to.frozen || n.links[link{from, to}].cut)
}

func (n *Net) delay(from, to *machine) time.Duration {
	if from == to {
		return 0
	}
	return n.links[link{from, to}].delay
}

// String lists the faults, for the report of a failed test.
func (n *Net) String() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	s := fmt.Sprintf("memnet: %d machines, %d stream ends, loss %.2f, doubling %.2f", len(n.machines), len(n.conns), n.loss, n.doubling)
	for _, m := range n.sorted() {
		if m.frozen || m.dark {
			s += fmt.Sprintf("; %s frozen=%t dark=%t", m.name, m.frozen, m.dark)
		}
		for _, to := range n.sorted() {
			if f := n.links[link{m, to}]; f != (fault{}) {
				s += fmt.Sprintf("; %s->%s cut=%t walled=%t delay=%v", m.name, to.name, f.cut, f.walled, f.delay)
			}
		}
	}
	return s
}

// sorted gives the machines in the order in which they were named first.
func (n *Net) sorted() []*machine {
	list := make([]*machine, 0, len(n.machines))
	for number := 1; number <= len(n.machines); number++ {
		list = append(list, n.byIP[netip.AddrFrom4([4]byte{10, 0, byte(number >> 8), byte(number)})])
	}
	return list
}
