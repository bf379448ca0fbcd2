package testcluster

import "time"

// The methods in this file disturb the network between nodes, or all connections of a node. They panic
// unless the cluster was started with Options.Net Memory.

// Split cuts both directions between nodes of different groups. Clients still reach all nodes.
func (c *Cluster) Split(groups ...[]int) { c.in.Split(groups...) }

// Cut holds back everything that node i sends to node j. The other direction is not affected.
func (c *Cluster) Cut(i, j int) { c.in.Cut(i, j) }

// Mend ends a Cut in this direction.
func (c *Cluster) Mend(i, j int) { c.in.Mend(i, j) }

// Delay delays everything that node i sends to node j by d.
func (c *Cluster) Delay(i, j int, d time.Duration) { c.in.Delay(i, j, d) }

// Reset breaks every connection between nodes i and j. Both may open new ones.
func (c *Cluster) Reset(i, j int) { c.in.Reset(i, j) }

// LoseReplies drops every answer of node j to node i until Heal: j does what i asks for, and i does not
// learn of it.
func (c *Cluster) LoseReplies(i, j int) { c.in.LoseReplies(i, j) }

// Freeze cuts node i off from all others, clients included: nothing reaches or leaves it, as if the
// process hung. Its clock continues.
func (c *Cluster) Freeze(i int) { c.in.Freeze(i) }

// Thaw ends Freeze.
func (c *Cluster) Thaw(i int) { c.in.Thaw(i) }

// Heal ends all disturbances of the network.
func (c *Cluster) Heal() { c.in.Heal() }
