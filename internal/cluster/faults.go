package cluster

import (
	"fmt"
	"time"
)

// The methods below inject network faults through the [MemNet]; on Loopback they panic.
// [Cluster.MemNet] offers more faults, which are not recorded in the History. A test that
// uses those must leave out [Fair] and [OneGrant] if they can destroy the state of keys.

// Split cuts both directions between nodes of different groups. Clients still reach all nodes.
func (c *Cluster) Split(groups ...[]int) {
	names := make([][]string, len(groups))
	for g, group := range groups {
		for _, i := range group {
			names[g] = append(names[g], c.Name(i))
		}
	}
	c.disturb(fmt.Sprint("split ", groups), func(n *MemNet) { n.Split(names...) })
}

// Cut holds everything that node i sends to node j. The other direction is not affected.
func (c *Cluster) Cut(i, j int) {
	c.disturb(fmt.Sprintf("cut %d->%d", i, j), func(n *MemNet) { n.Cut(c.Name(i), c.Name(j)) })
}

// Wall holds every stream that node i opens to node j, but not those that j opens to i.
func (c *Cluster) Wall(i, j int) {
	c.disturb(fmt.Sprintf("wall %d->%d", i, j), func(n *MemNet) { n.Wall(c.Name(i), c.Name(j)) })
}

// Delay delays everything that node i sends to node j by d.
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

// Deafen makes node i a process that can dial other members but that they cannot dial, as
// with a wrong mesh.peer_advertise or behind a firewall. It breaks all streams between node i
// and the others, so that both sides have to dial again.
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

// Mend ends a Cut or a Wall in this direction.
func (c *Cluster) Mend(i, j int) {
	c.disturb(fmt.Sprintf("mend %d->%d", i, j), func(n *MemNet) { n.Mend(c.Name(i), c.Name(j)) })
}

// Reset breaks every stream between nodes i and j. Both open new ones.
func (c *Cluster) Reset(i, j int) {
	c.disturb(fmt.Sprintf("reset %d-%d", i, j), func(n *MemNet) { n.Reset(c.Name(i), c.Name(j)) })
}

// Heal ends all network faults and all message rules. Clocks keep their rates.
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
