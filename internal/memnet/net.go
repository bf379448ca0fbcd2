package memnet

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"
)

// Net is a network in memory. It has machines with an IP address each, streams that behave
// like TCP, datagrams that behave like UDP, names, and faults.
//
// It works inside a testing/synctest bubble: its methods block only on condition variables,
// channels and timers, and without holding a lock, so virtual time passes. Outside a bubble it
// works in real time.
//
// Faults never damage a stream. A cut holds the bytes of a stream; when it is mended they are
// delivered in order and without a gap. It drops datagrams. No fault removes bytes from the
// middle of a stream.
//
// Machines have names. Every new name gets the next free address, so the same order of calls
// gives the same addresses. All methods are safe for concurrent use.
type Net struct {
	mu sync.Mutex
	// mu guards everything below, and every stream, socket and listener of the network. Nobody
	// holds it while waiting.

	machines map[string]*machine
	byIP     map[netip.Addr]*machine
	names    map[string][]string
	links    map[link]fault
	conns    map[*conn]struct{}
	loss     float64
	doubling float64
	rnd      *rand.Rand
	// changed is closed and replaced when a fault begins or ends, so that blocked dials try again.
	changed chan struct{}
}

// machine is what has an address. Processes on it come and go.
type machine struct {
	name string
	ip   netip.Addr
	// process is the process that runs now; nil after Kill and Crash.
	process *Host
	// frozen: nothing arrives or leaves, but streams lose nothing.
	frozen bool
	// dark: the machine is off. The others get nothing from it, not even errors.
	dark bool
	// deaf holds the ports at which nothing arrives.
	deaf map[uint16]bool
	// orphans holds the far ends of the streams that existed at a crash.
	orphans []*conn

	listeners map[uint16]*listener
	sockets   map[uint16]*packetConn
	nextPort  uint16
}

// link is one direction between two machines.
type link struct{ from, to *machine }

// fault is the state of a link with a fault.
type fault struct {
	cut   bool
	delay time.Duration
	// walled holds the streams that from opens to to, in both directions.
	walled bool
}

// New returns an empty network. The seed decides which datagrams are lost or doubled.
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

// Host returns the network of the process on this machine. After [Net.Kill] or [Net.Crash] it
// starts a new process, which does not own the old one's streams and sockets.
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

// machine returns the machine with this name, which it creates if necessary.
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

// Resolve makes a name resolve to the addresses of these machines, in this order, or removes
// the name if there are none. Names of machines need no entry; an entry for one takes
// precedence.
func (n *Net) Resolve(name string, machines ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	addrs := make([]string, len(machines))
	for i, m := range machines {
		addrs[i] = n.machine(m).ip.String()
	}
	n.names[name] = addrs
}

// Cut holds everything that one machine sends to another. The other direction is not affected.
// A new stream needs both directions.
func (n *Net) Cut(from, to string) {
	n.change(func() { n.setCut(n.machine(from), n.machine(to), true) })
}

// Wall holds every stream that one machine opens to another, as a firewall would. Streams that
// are opened the other way work in both directions, and so do datagrams. Mend ends it.
func (n *Net) Wall(from, to string) {
	n.change(func() {
		l := link{n.machine(from), n.machine(to)}
		f := n.links[l]
		f.walled = true
		n.links[l] = f
	})
}

// Mend ends a cut or wall in this direction.
func (n *Net) Mend(from, to string) {
	n.change(func() { n.setCut(n.machine(from), n.machine(to), false) })
}

// Split cuts both directions between machines of different groups. A machine in no group keeps
// all its links. Several splits add up; see Heal.
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

// Delay delays everything that is sent from now on from one machine to another by d. The bytes
// of a stream stay in order.
func (n *Net) Delay(from, to string, d time.Duration) {
	n.change(func() {
		l := link{n.machine(from), n.machine(to)}
		f := n.links[l]
		f.delay = d
		n.links[l] = f
	})
}

// Lose drops a fraction of all datagrams, 0 to 1.
func (n *Net) Lose(share float64) { n.change(func() { n.loss = share }) }

// Double delivers a fraction of all datagrams twice, 0 to 1.
func (n *Net) Double(share float64) { n.change(func() { n.doubling = share }) }

// Freeze holds everything from and to a machine, as if it hung: streams stay open and their
// bytes wait, datagrams are lost. The machine's process keeps running and gets nothing from
// the network.
func (n *Net) Freeze(name string) { n.change(func() { n.machine(name).frozen = true }) }

// Thaw ends Freeze.
func (n *Net) Thaw(name string) { n.change(func() { n.machine(name).frozen = false }) }

// Deafen blocks one port of a machine for new streams and datagrams from other machines: the
// datagrams are lost, dials wait. Open streams are not affected.
func (n *Net) Deafen(name string, port uint16) {
	n.change(func() { n.machine(name).deaf[port] = true })
}

// Undeafen ends Deafen.
func (n *Net) Undeafen(name string, port uint16) {
	n.change(func() { delete(n.machine(name).deaf, port) })
}

// Heal ends every cut, wall, split, delay, loss, doubling, freeze and deafness. Machines that
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

// Reset breaks every stream between two machines: bytes in flight are lost, and both ends get
// "connection reset".
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

// Kill ends the process on a machine at once: its listeners and sockets are gone, its streams
// are reset, and goroutines of it that still run cannot use the network any more. The machine
// itself still answers (connection refused).
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

// Crash is Kill as by a power failure: the others get nothing, not even resets of their
// streams, until the next call of Host for this name.
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

// ends returns the near ends of a machine's streams.
func (n *Net) ends(m *machine) []*conn {
	var list []*conn
	for c := range n.conns {
		if c.host.machine == m {
			list = append(list, c)
		}
	}
	return list
}

// shut removes the process from the machine.
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

// boot resets the far ends of the streams that existed at a crash.
func (n *Net) boot(m *machine) {
	for _, c := range m.orphans {
		c.in.send(segment{kind: segReset})
	}
	m.orphans = nil
	n.touch()
}

// change applies a fault, or the end of one, and delivers what is no longer held.
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

// blocked reports whether nothing gets from one machine to the other now.
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

// sorted returns the machines in the order in which they were first named.
func (n *Net) sorted() []*machine {
	list := make([]*machine, 0, len(n.machines))
	for number := 1; number <= len(n.machines); number++ {
		list = append(list, n.byIP[netip.AddrFrom4([4]byte{10, 0, byte(number >> 8), byte(number)})])
	}
	return list
}
