package cluster

import (
	"github.com/sgkandale/sharelock/internal/memnet"
	"github.com/sgkandale/sharelock/mesh/network"
)

// MemNet is the memory network that nodes of a cluster share; [memnet.Net] says
// what it can do. It has a package of its own so that the tests of package mesh
// can use it without this one, which imports mesh.
type MemNet = memnet.Net

var _ network.Network = (*memnet.Host)(nil)

// NewMemNet makes an empty network, see [memnet.New].
func NewMemNet(seed uint64) *MemNet { return memnet.New(seed) }
