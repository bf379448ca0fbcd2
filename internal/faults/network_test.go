package faults

import (
	"fmt"
	"net"
	"os/exec"
	"strings"
	"testing"
)

// network is one switch with a link to every node. The switch is in the namespace of the test, which
// reaches all nodes through it. Each node has a namespace of its own.
type network struct {
	t testing.TB
}

const (
	bridge = "faults"
	// host is the test's own address on the switch.
	host = "10.99.0.254"
	// mostNodes is the number of links: one more than the largest mesh.
	mostNodes = 6
)

func nodeHost(i int) string { return fmt.Sprintf("10.99.0.%d", i+1) }

// relayHost is the address of the relay in front of a node, if it has one.
func relayHost(i int) string { return fmt.Sprintf("10.99.0.%d", i+101) }
func namespace(i int) string { return fmt.Sprintf("n%d", i+1) }

// rules drop what one address sends to another, wherever it passes the switch, and a fraction of the
// other packets between nodes. Nothing is rejected: the sender gets no error, as after a cable was
// pulled.
const rules = `
table bridge faults {
	set cut { type ipv4_addr . ipv4_addr; }
	chain forward { type filter hook forward priority 0; ip saddr . ip daddr @cut drop; jump lossy; }
	chain input { type filter hook input priority 0; ip saddr . ip daddr @cut drop; }
	chain output { type filter hook output priority 0; ip saddr . ip daddr @cut drop; }
	chain lossy { }
}
`

// newNetwork builds the switch. The namespace must be new, so that nothing else is disturbed.
// Everything ends with the namespace.
func newNetwork(t testing.TB) *network {
	t.Helper()
	links, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		if l.Flags&net.FlagLoopback == 0 {
			t.Fatalf("there is a network, %s: this runs in a namespace of its own, see scripts/faults", l.Name)
		}
	}
	n := &network{t}
	n.run("", "ip link set lo up")
	n.run("", "ip link add %s type bridge", bridge)
	n.run("", "ip addr add %s/24 dev %s", host, bridge)
	n.run("", "ip link set %s up", bridge)
	for i := range mostNodes {
		ns := namespace(i)
		n.run("", "ip netns add %s", ns)
		n.run("", "ip link add %s type veth peer name eth0 netns %s", ns, ns)
		n.run("", "ip link set %s master %s up", ns, bridge)
		n.run("", "ip -n %s link set lo up", ns)
		n.run("", "ip -n %s addr add %s/24 dev eth0", ns, nodeHost(i))
		n.run("", "ip -n %s link set eth0 up", ns)
		n.run("", "ip addr add %s/24 dev %s", relayHost(i), bridge)
	}
	n.run(rules, "nft -f -")
	return n
}

// run runs one command.
func (n *network) run(input, format string, args ...any) {
	n.t.Helper()
	line := strings.Fields(fmt.Sprintf(format, args...))
	cmd := exec.Command(line[0], line[1:]...)
	cmd.Stdin = strings.NewReader(input)
	if out, err := cmd.CombinedOutput(); err != nil {
		n.t.Fatalf("%s: %v\n%s", strings.Join(line, " "), err, out)
	}
}

// cut drops what one address sends to each of the others.
func (n *network) cut(from string, to ...string) {
	n.t.Helper()
	for _, h := range to {
		n.run("", "nft add element bridge faults cut { %s . %s }", from, h)
	}
}

// part drops everything between two groups.
func (n *network) part(a, b []string) {
	n.t.Helper()
	for _, from := range a {
		n.cut(from, b...)
	}
	for _, from := range b {
		n.cut(from, a...)
	}
}

// lose drops one of every oneOf packets between nodes.
func (n *network) lose(oneOf int) {
	n.t.Helper()
	n.run("", "nft add rule bridge faults lossy numgen random mod %d == 0 drop", oneOf)
}

// heal undoes cut and lose.
func (n *network) heal() {
	n.t.Helper()
	n.run("", "nft flush set bridge faults cut")
	n.run("", "nft flush chain bridge faults lossy")
}
