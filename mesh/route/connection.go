package route

import (
	"hash/maphash"
	"math"
	"net"
)

// connSeed makes the numbers of this process's connections differ from those of others.
var connSeed = maphash.MakeSeed()

// connection returns the number by which owners tell this node's connections apart, for
// the shares of Q6. Two connections have the same one about once in four billion, and
// then have one share. It is 0 for calls that did not come over a connection.
func (rt *Router) connection(remote net.Addr) uint32 {
	if remote == nil {
		return 0
	}
	var hash uint64
	if tcp, ok := remote.(*net.TCPAddr); ok {
		hash = maphash.Comparable(connSeed, tcp.AddrPort()) // without making a string of it
	} else {
		hash = maphash.String(connSeed, remote.String())
	}
	return max(uint32(hash&math.MaxUint32), 1)
}
