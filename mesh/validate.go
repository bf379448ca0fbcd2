package mesh

import (
	"errors"
	"fmt"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/release"
	"github.com/sgkandale/sharelock/mesh/network"
	"github.com/sgkandale/sharelock/mesh/view"
	"github.com/sgkandale/sharelock/owner/journal"
	"github.com/sgkandale/sharelock/ring"
)

// Validate reports everything that is wrong with the configuration, each problem
// named by its key in config.yaml.
func (c Config) Validate() error {
	var errs []error
	check := func(ok bool, key, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf("%s: "+format, append([]any{key}, args...)...))
		}
	}
	check(c.Name != "" && len(c.Name) <= 64, "node.name", "want 1 to 64 bytes, have %d", len(c.Name))
	check(c.Cluster != "" && len(c.Cluster) <= 64, "mesh.cluster", "want 1 to 64 bytes, have %d", len(c.Cluster))
	for _, l := range []struct{ key, addr string }{
		{"http.listen", c.HTTPListen},
		{"grpc.listen", c.GRPCListen},
		{"mesh.peer_listen", c.PeerListen},
		{"mesh.gossip_listen", c.GossipListen},
	} {
		check(l.addr != "", l.key, "must not be empty")
	}
	c.validateTLS(check)
	check(!c.Recover || !c.Found, "--recover", "not together with --found: it goes on with the mesh of a data directory, --found makes a new one")
	check(!c.Recover || c.DataDir != "", "--recover", "needs the data directory of the old mesh (node.data_dir)")
	for _, seed := range c.Seeds {
		_, _, err := network.SplitAddr(seed, 7946)
		check(err == nil, "mesh.seeds", "%q is not host or host:port", seed)
	}
	check(c.HoldRelease == 0 || c.HoldRelease >= release.Oldest, "mesh.hold_release", "%d is below %d, the oldest release that this program works with", c.HoldRelease, release.Oldest)
	check(c.Lease >= 200*time.Millisecond && c.Lease <= time.Minute, "mesh.lease", "%v is not within 200ms to 1m", c.Lease)
	check(c.SeatGrace > 0, "mesh.seat_grace", "%v is not above 0", c.SeatGrace)
	check(c.Partitions >= 1 && c.Partitions <= ring.MaxPartitions, "ring.partitions", "%d is not within 1 to %d", c.Partitions, ring.MaxPartitions)
	check(c.Replicas >= 0 && c.Replicas <= view.MaxVoters, "ring.replicas", "%d is not within 0 to %d", c.Replicas, view.MaxVoters)
	check(c.MaxTTL >= time.Second && c.MaxTTL <= 24*time.Hour, "locks.max_ttl", "%v is not within 1s to 24h", c.MaxTTL)
	check(c.DefaultTTL >= sharelock.MinTTL && c.DefaultTTL <= c.MaxTTL, "locks.default_ttl", "%v is not within %v and locks.max_ttl, %v", c.DefaultTTL, sharelock.MinTTL, c.MaxTTL)
	check(c.MaxHold == 0 || c.MaxHold >= sharelock.MinTTL && c.MaxHold <= sharelock.MostMaxHold, "locks.max_hold", "%v is neither 0 nor within %v to %v", c.MaxHold, sharelock.MinTTL, sharelock.MostMaxHold)
	check(c.MaxWait > 0 && c.MaxWait <= 24*time.Hour, "locks.max_wait", "%v is not within 0 to 24h", c.MaxWait)
	check(c.DefaultWait >= 0 && c.DefaultWait <= c.MaxWait, "locks.default_wait", "%v is not within 0 and locks.max_wait, %v", c.DefaultWait, c.MaxWait)
	check(c.MaxWaitersPerKey >= 1, "locks.max_waiters_per_key", "%d is below 1", c.MaxWaitersPerKey)
	check(c.MaxLocks >= 0, "locks.max_locks", "%d is below 0", c.MaxLocks)
	check(c.HistoryBytes == 0 || c.HistoryBytes >= journal.MinBytes, "history.max_bytes", "%d is neither 0 nor at least %d", c.HistoryBytes, journal.MinBytes)
	check(c.HistoryKeep >= 0, "history.keep", "%v is below 0", c.HistoryKeep)
	check(c.MaxConnections >= 0, "limits.max_connections", "%d is below 0", c.MaxConnections)
	check(c.MaxSessions >= 0, "limits.max_sessions", "%d is below 0", c.MaxSessions)
	check(c.ShutdownTimeout > 0, "shutdown_timeout", "%v is not above 0", c.ShutdownTimeout)
	if err := c.Auth.validate(); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
