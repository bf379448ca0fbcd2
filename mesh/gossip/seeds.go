package gossip

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"net/netip"
	"strings"

	"github.com/sgkandale/sharelock/mesh/network"
)

// Lookup resolves a gossip address.
func (g *Gossip) Lookup(name string) ([]netip.AddrPort, error) {
	ctx, cancel := context.WithTimeout(g.ctx, lookupTimeout)
	defer cancel()
	return network.Resolve(ctx, g.cfg.Network, name, g.transport.port)
}

// OwnAddrs are the addresses that lead to this very process: where it
// advertises, where it listens, and if that is everywhere, the port at every
// address of this machine. (Another process may listen on the same port at
// another address, so a process that listens at one has just that one.)
func (g *Gossip) OwnAddrs() (map[netip.AddrPort]bool, error) {
	own := map[netip.AddrPort]bool{g.self: true}
	bound, err := netip.ParseAddrPort(g.transport.listener.Addr().String())
	if err != nil {
		return own, err
	}
	if !bound.Addr().IsUnspecified() {
		own[netip.AddrPortFrom(bound.Addr().Unmap(), bound.Port())] = true
		return own, nil
	}
	addrs, err := network.InterfaceAddrs()
	for _, ip := range addrs {
		own[netip.AddrPortFrom(ip, bound.Port())] = true
	}
	return own, err
}

// SeedIndex says which of the seeds is this process, from 1; 0 is none. unique
// is false if another process could say the same of that entry, or this one of
// another entry; then nobody may found a cluster (V0). An error says that this
// process is none of the seeds that could be resolved.
func (g *Gossip) SeedIndex() (index int, unique bool, err error) {
	own, err := g.OwnAddrs()
	if err != nil {
		return 0, false, fmt.Errorf("gossip: addresses of this machine: %w", err)
	}
	unique = true
	var failed []error
	for i, seed := range g.cfg.Seeds {
		addrs, err := g.Lookup(seed)
		if err != nil {
			failed = append(failed, fmt.Errorf("gossip: seed %s: %w", seed, err))
			continue
		}
		mine := 0
		for _, addr := range addrs {
			if own[addr] {
				mine++
			}
		}
		if mine == 0 {
			continue
		}
		if index != 0 || mine < len(addrs) {
			unique = false
		}
		if index == 0 {
			index = i + 1
		}
	}
	if index == 0 {
		return 0, false, errors.Join(failed...)
	}
	return index, unique, nil
}

// SeedProcesses returns the processes that live at the addresses of the seeds, this one left
// out. missing are the seeds of which some address has not been resolved, or has nobody
// that answers.
func (g *Gossip) SeedProcesses() (there []Process, missing []string, err error) {
	own, err := g.OwnAddrs()
	if err != nil {
		return nil, nil, fmt.Errorf("gossip: addresses of this machine: %w", err)
	}
	at := map[string]Process{}
	for _, n := range g.Processes() {
		at[n.Addr] = n
	}
	for _, seed := range g.cfg.Seeds {
		addrs, err := g.Lookup(seed)
		absent := err != nil
		for _, addr := range addrs {
			if own[addr] {
				continue
			}
			n, ok := at[addr.String()]
			if absent = absent || !ok; ok {
				there = append(there, n)
			}
		}
		if absent {
			missing = append(missing, seed)
		}
	}
	return there, missing, nil
}

// SeedsHash returns a hash of a list of seeds: it tells whether two processes have the same list of seeds.
func SeedsHash(seeds []string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(strings.Join(seeds, "\n"))) //nolint:errcheck // a hash takes everything
	return h.Sum64()
}
