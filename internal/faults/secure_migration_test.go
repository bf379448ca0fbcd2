package faults

import (
	"context"
	"crypto/tls"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/sgkandale/sharelock/client"
	"github.com/sgkandale/sharelock/internal/certs"
)

// migration turns TLS on in a mesh that runs without, by three rolling restarts under load, as
// docs/security.md describes.
func migration(t *testing.T, w *network) {
	w.t = t
	w.heal()
	ca, err := certs.NewCA()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	var nodes []*node
	var seeds, hosts []string
	for i := range 3 {
		seeds, hosts = append(seeds, nodeHost(i)+":7946"), append(hosts, nodeHost(i))
	}
	pair, err := ca.Member("peers", "sharelock", hosts)
	if err == nil {
		err = pair.Write(dir, "peers")
	}
	if err == nil {
		err = ca.WriteCA(dir)
	}
	if err != nil {
		t.Fatal(err)
	}
	mesh := fmt.Sprintf("mesh: {insecure: true, seeds: [%s]}\n", strings.Join(seeds, ", "))
	for i := range 3 {
		nodes = append(nodes, newNode(t, i, os.Getenv(binaryEnv), dir, mesh))
		nodes[i].start()
	}
	plain, secure := client.Options{OnlyAddrs: true}, client.Options{OnlyAddrs: true, TLS: &tls.Config{RootCAs: ca.Pool()}} //nolint:gosec // the least version is the library's
	r := &rig{t: t}
	whole := func(o client.Options) func(context.Context) bool {
		return func(ctx context.Context) bool { return wholeAs(ctx, nodes, o) }
	}
	r.await("the mesh is born", time.Minute, whole(plain))
	in := newInnocents(t, dialSecure(t, plain, nodes...))
	step := func(what, members, clients string, by client.Options) {
		t.Helper()
		for _, n := range nodes {
			n.stop()
			text := fmt.Sprintf("node:\n  name: %s\n  data_dir: %s\n%stls: {ca_file: %s/ca.pem, cert_file: %s/peers.pem, key_file: %s/peers-key.pem, members: %s, clients: %s}\n",
				n.name, n.data, mesh, dir, dir, dir, members, clients)
			if err := os.WriteFile(n.file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			n.start()
			r.await(n.name+" is back", time.Minute, whole(by))
		}
		in.check(t, what)
	}
	step("the restarts with migrate", "migrate", "migrate", plain)
	step("the restarts with TLS between members", "required", "migrate", plain)
	in.end()
	in = newInnocents(t, dialSecure(t, secure, nodes...))
	defer in.end()
	step("the restarts with TLS for clients", "required", "on", secure)
	if wholeAs(t.Context(), nodes, plain) {
		t.Error("clients without TLS are served")
	}
}

// wholeAs reports whether a client with these options finds that every node sees all nodes, and serves all
// that it owns.
func wholeAs(ctx context.Context, nodes []*node, o client.Options) bool {
	for _, n := range nodes {
		c, err := client.Dial(ctx, []string{n.addr()}, o)
		if err != nil {
			return false
		}
		m, err := c.Mesh(ctx)
		if cerr := c.Close(); err != nil || cerr != nil || !serves(&m, n.name, len(nodes)) {
			return false
		}
	}
	return true
}
