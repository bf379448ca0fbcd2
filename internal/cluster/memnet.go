package cluster

import (
	"github.com/sgkandale/sharelock/internal/memnet"
	"github.com/sgkandale/sharelock/mesh/network"
)

// MemNet is the memory network that connects the nodes of a cluster; see [memnet.Net]. It
// has a package of its own because the tests of package mesh use it, and this package
// imports mesh.
type MemNet = memnet.Net

var _ network.Network = (*memnet.Host)(nil)

// NewMemNet returns an empty network, see [memnet.New].
func NewMemNet(seed uint64) *MemNet { return memnet.New(seed) }
