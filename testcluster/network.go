package testcluster

import "time"

// The methods of this file disturb the network between nodes, or between a node and everybody. They
// panic unless the cluster was started with Options.Net Memory.

// Split cuts both directions between nodes of different groups. Clients still reach all nodes.
func (c *Cluster) Split(groups ...[]int) { c.in.Split(groups...) }

// Cut holds back everything that node i sends to node j. The other direction is not affected.
func (c *Cluster) Cut(i, j int) { c.in.Cut(i, j) }

// Mend ends a Cut of this direction.
func (c *Cluster) Mend(i, j int) { c.in.Mend(i, j) }

// Delay makes everything that node i sends to node j take d.
func (c *Cluster) Delay(i, j int, d time.Duration) { c.in.Delay(i, j, d) }

// Reset breaks every connection between nodes i and j. Both may open new ones.
func (c *Cluster) Reset(i, j int) { c.in.Reset(i, j) }

// LoseReplies drops every answer of node j to node i until Heal: j does what it is asked for, and i
// does not learn of it.
func (c *Cluster) LoseReplies(i, j int) { c.in.LoseReplies(i, j) }

// Freeze pauses node i for everybody else: nothing reaches it and nothing leaves it, clients
// included, as if the process hung. Its clock goes on.
func (c *Cluster) Freeze(i int) { c.in.Freeze(i) }

// Thaw ends Freeze.
func (c *Cluster) Thaw(i int) { c.in.Thaw(i) }

// Heal ends everything that disturbs the network.
func (c *Cluster) Heal() { c.in.Heal() }
