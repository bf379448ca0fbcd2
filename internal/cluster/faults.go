package cluster

import (
	"fmt"
	"time"
)

// The faults of the network are those of a [MemNet]; on Loopback they panic. More
// of them are at [Cluster.MemNet]; what is done there is not in the History, so
// leave out [Fair] and [OneGrant] when it takes the state of keys away.

// Split cuts both directions between nodes of different groups. Clients reach all
// nodes still.
func (c *Cluster) Split(groups ...[]int) {
	names := make([][]string, len(groups))
	for g, group := range groups {
		for _, i := range group {
			names[g] = append(names[g], c.Name(i))
		}
	}
	c.disturb(fmt.Sprint("split ", groups), func(n *MemNet) { n.Split(names...) })
}

// Cut holds everything that goes from node i to node j; the other direction goes
// on.
func (c *Cluster) Cut(i, j int) {
	c.disturb(fmt.Sprintf("cut %d->%d", i, j), func(n *MemNet) { n.Cut(c.Name(i), c.Name(j)) })
}

// Wall holds every stream that node i opens to node j; those that j opens go on.
func (c *Cluster) Wall(i, j int) {
	c.disturb(fmt.Sprintf("wall %d->%d", i, j), func(n *MemNet) { n.Wall(c.Name(i), c.Name(j)) })
}

// Delay makes everything from node i to node j take d.
func (c *Cluster) Delay(i, j int, d time.Duration) {
	c.disturb(fmt.Sprintf("delay %d->%d %v", i, j, d), func(n *MemNet) { n.Delay(c.Name(i), c.Name(j), d) })
}

// Freeze holds everything from and to node i, as if it hung.
func (c *Cluster) Freeze(i int) {
	c.disturb(fmt.Sprint("freeze ", i), func(n *MemNet) { n.Freeze(c.Name(i)) })
}

// Thaw ends Freeze.
func (c *Cluster) Thaw(i int) {
	c.disturb(fmt.Sprint("thaw ", i), func(n *MemNet) { n.Thaw(c.Name(i)) })
}

// Deafen makes node i a process that can dial out but not be dialled by other members, as
// behind a wrong mesh.peer_advertise or a firewall. The streams between it and the others
// break, whoever opened them, so that it is dialled again.
func (c *Cluster) Deafen(i int) {
	c.disturb(fmt.Sprint("deafen ", i), func(n *MemNet) {
		n.Deafen(c.Name(i), peerPort)
		for j := range c.Len() {
			if j != i {
				n.Reset(c.Name(i), c.Name(j))
			}
		}
	})
}

// Undeafen ends Deafen.
func (c *Cluster) Undeafen(i int) {
	c.disturb(fmt.Sprint("undeafen ", i), func(n *MemNet) { n.Undeafen(c.Name(i), peerPort) })
}

// Mend ends a Cut or a Wall of this direction.
func (c *Cluster) Mend(i, j int) {
	c.disturb(fmt.Sprintf("mend %d->%d", i, j), func(n *MemNet) { n.Mend(c.Name(i), c.Name(j)) })
}

// Reset breaks every stream between nodes i and j; both open new ones.
func (c *Cluster) Reset(i, j int) {
	c.disturb(fmt.Sprintf("reset %d-%d", i, j), func(n *MemNet) { n.Reset(c.Name(i), c.Name(j)) })
}

// Heal ends every fault of the network and every rule for messages. Clocks go on at
// their rates.
func (c *Cluster) Heal() {
	c.rules.clear()
	c.memory().Heal()
	c.history.note(Event{Kind: Healed})
}

func (c *Cluster) disturb(what string, f func(n *MemNet)) {
	n := c.memory()
	c.history.note(Event{Kind: Disturbed, What: what})
	f(n)
}

func (c *Cluster) memory() *MemNet {
	if c.net == nil {
		panic("cluster: only a cluster with Options.Net Memory has faults")
	}
	return c.net
}
