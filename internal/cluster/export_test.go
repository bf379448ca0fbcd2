package cluster

import (
	"context"
	"net"
)

// DialMemory opens a connection to an address of the cluster's network in memory, from where
// clients are.
func (c *Cluster) DialMemory(ctx context.Context, addr string) (net.Conn, error) {
	return c.net.Host("clients").Dial(ctx, addr)
}
