package gossip

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
)

// Unreached is a seed that does not answer, and why, for people.
type Unreached struct{ Seed, Why string }

// attempt is what became of the last attempt to reach a seed. lookup is why its name has no
// address; failed are the errors of its addresses, "" for one that has not been tried.
type attempt struct {
	lookup string
	failed map[string]string
}

// Unreached returns the seeds of which some address has nobody that answers, in the order of the
// configuration. It does no I/O: the reasons are those of the last attempts.
func (g *Gossip) Unreached() (list []Unreached) {
	own, _ := g.OwnAddrs() // an error leaves out addresses of this machine, which then answer
	alive := g.table.addrs()
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, seed := range g.cfg.Seeds {
		a, known := g.attempts[seed]
		if !known {
			continue
		}
		why := a.lookup
		for _, addr := range sortedKeys(a.failed) {
			ap, err := netip.ParseAddrPort(addr)
			if err == nil && own[ap] || alive[addr] {
				continue
			}
			if why == "" {
				why = a.failed[addr]
			}
			if why == "" {
				why = "it has not answered yet"
			}
		}
		if why != "" {
			list = append(list, Unreached{seed, why})
		}
	}
	return list
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// noteLookup notes the addresses of a name if it is a seed.
func (g *Gossip) noteLookup(name string, addrs []netip.AddrPort, err error) {
	if !slices.Contains(g.cfg.Seeds, name) {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.attempts == nil {
		g.attempts = make(map[string]attempt)
	}
	a := attempt{failed: make(map[string]string, len(addrs))}
	if err != nil {
		a.lookup = "its name cannot be resolved: " + err.Error()
	}
	for _, addr := range addrs {
		a.failed[addr.String()] = g.attempts[name].failed[addr.String()]
	}
	g.attempts[name] = a
}

// noteJoin notes what became of an attempt to join at an address.
func (g *Gossip) noteJoin(addr string, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, a := range g.attempts {
		if _, is := a.failed[addr]; is {
			a.failed[addr] = g.plain(err)
		}
	}
}

// plain says in plain words why a process could not be joined.
func (g *Gossip) plain(err error) string {
	var timeout net.Error
	text := ""
	if err != nil {
		text = err.Error()
	}
	switch {
	case err == nil:
		return ""
	case whyRefused(err) != "":
		return whyRefused(err)
	case errors.Is(err, errForeignGossip):
		return fmt.Sprintf("it belongs to another mesh: is mesh.cluster %q there, too?", g.cfg.Meta.GetCluster())
	case strings.Contains(text, "invalid msgType"):
		return "what answers is no gossip port: want the port of mesh.gossip_listen there, 7946 by default"
	case errors.Is(err, syscall.ECONNREFUSED) || strings.Contains(text, "connection refused"):
		return "connection refused: is the node up, and is this its gossip port?"
	case errors.As(err, &timeout) && timeout.Timeout() || strings.Contains(text, "i/o timeout"):
		return "timeout: is the node up, and is the port open in every firewall, for TCP and UDP?"
	case errors.Is(err, io.EOF) || strings.Contains(text, "EOF") || strings.Contains(text, "reset by peer"):
		return fmt.Sprintf("it closed the connection: is mesh.cluster %q there, too, and is this its gossip port?", g.cfg.Meta.GetCluster())
	}
	return strings.Join(strings.Fields(text), " ")
}
