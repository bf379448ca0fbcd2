package host

import (
	"fmt"
	"strings"

	"github.com/sgkandale/sharelock/cmd/sharelock/internal/text"
)

// printDev prints the addresses of the nodes and commands to try.
func (h *Host) printDev(nodes []Node, d *devTLS) {
	noun := "nodes are"
	if len(nodes) == 1 {
		noun = "node is"
	}
	fmt.Fprintf(h.Stdout, "A mesh of %d: the %s ready. Nothing is written to disk; Ctrl-C stops it.\n\n", len(nodes), noun)
	rows := [][]string{{"  NODE", "HTTP", "GRPC", "PEERS", "GOSSIP"}}
	var servers []string
	for i, n := range nodes {
		at := n.Addrs()
		rows = append(rows, []string{"  " + devName(i), at.HTTP, at.GRPC, at.Peer, at.Gossip})
		servers = append(servers, at.GRPC)
	}
	_ = text.Table(h.Stdout, rows) // a closed stdout is no reason to stop the nodes
	first, last := nodes[0].Addrs(), nodes[len(nodes)-1].Addrs()
	curl, scheme := d.curl()
	fmt.Fprintf(h.Stdout, `
Try, in another terminal:

  # acquire a lock over HTTP at the first node, and read it at the last
  %[6]s %[7]s://%[1]s/v1/locks/demo -d '{"clientId":"me","ttl":"60s"}'
  %[6]s %[7]s://%[2]s/v1/locks/demo

  # run a command under a lock: start it in two terminals
  export SHARELOCK_SERVER=%[3]s
%[5]s  %[4]s lock build -- sh -c 'echo "mine, token $SHARELOCK_TOKEN"; sleep 5'

  # show the locks, and the members of the mesh
  %[4]s list
  %[4]s members
`, first.HTTP, last.HTTP, strings.Join(servers, ","), h.Name, d.exports(), curl, scheme)
}
