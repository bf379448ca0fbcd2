package cluster_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/sgkandale/sharelock/client"
	"github.com/sgkandale/sharelock/internal/certs"
	"github.com/sgkandale/sharelock/internal/cluster"
	"github.com/sgkandale/sharelock/internal/virtual"
	"github.com/sgkandale/sharelock/mesh"
)

func TestThreeNodesTLS(t *testing.T) {
	threeNodes(t, cluster.Options{Timing: time.Second, TLS: cluster.TLSAll})
}

func TestSimThreeNodesTLS(t *testing.T) {
	virtual.Test(t, func(t *testing.T) { threeNodes(t, cluster.Options{Net: cluster.Memory, TLS: cluster.TLSAll}) })
}

// noticed is how long a node may take to notice new files.
const noticed = 10 * time.Second

// long returns a context for a test that lasts minutes of virtual time.
func long(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	t.Cleanup(cancel)
	return ctx
}

// underLoad runs change while keys are acquired and released and others are held. It checks that no
// call failed and no lock was lost.
func underLoad(ctx context.Context, t *testing.T, c *cluster.Cluster, change func()) {
	t.Helper()
	keys := keysNamed("load", 6)
	l := startLoad(ctx, t, c, keys, 50*time.Millisecond)
	h := hold(ctx, t, c, keysNamed("held", 30))
	l.keepOn(ctx, t, keys)
	change()
	l.keepOn(ctx, t, keys)
	h.check(ctx, t, c.Client(0))
	l.stop(t)
}

func certifyAll(t *testing.T, c *cluster.Cluster, ca *certs.CA, bundle ...*certs.CA) {
	t.Helper()
	for i := range c.Len() {
		must(t, c.Certify(i, ca, bundle))
	}
}

func clientPair(t *testing.T, ca *certs.CA) *certs.Pair {
	t.Helper()
	p, err := ca.Client("ci")
	must(t, err)
	return &p
}

func newCA(t *testing.T) *certs.CA {
	t.Helper()
	ca, err := certs.NewCA()
	must(t, err)
	return ca
}

// A new authority, and new certificates of all nodes and clients, cost no call and no lock.
func TestSimRotateAuthority(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		c := cluster.Start(t, cluster.Options{Net: cluster.Memory, TLS: cluster.TLSMutual, MaxTTL: 10 * time.Second})
		ctx := long(t)
		before := c.CA()
		after := newCA(t)
		underLoad(ctx, t, c, func() {
			certifyAll(t, c, before, before, after)
			c.Trust(after, clientPair(t, after), before, after)
			time.Sleep(noticed)
			certifyAll(t, c, after, before, after)
			time.Sleep(noticed)
			certifyAll(t, c, after, after)
			c.Trust(after, clientPair(t, after), after)
			time.Sleep(noticed)
		})
		for i := range c.Len() {
			st := c.Node(i).TLSStats()
			if st.Reloads != 3 || st.Failures > 9 || st.Streams == 0 {
				t.Errorf("node %d: %+v, want 3 reloads, and streams with certificates", i, st)
			}
		}
		// A client with an old certificate is refused.
		c.Trust(after, clientPair(t, before), after)
		cl, err := c.Dial(ctx, client.Options{Patience: time.Second}, 0)
		if err == nil {
			_, err = cl.Get(ctx, "load/0")
		}
		if err == nil {
			t.Error("a client of the authority that has left was served")
		}
	})
}

// When all certificates expire at once, open connections continue, and the nodes log it. New
// connections are refused until there are new certificates.
func TestSimAllCertificatesExpire(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		var logs logLines
		c := cluster.Start(t, cluster.Options{Net: cluster.Memory, TLS: cluster.TLSAll, MaxTTL: 10 * time.Second, Logs: &logs})
		ctx := long(t)
		ca := c.CA()
		end := time.Now().Add(30 * time.Second)
		underLoad(ctx, t, c, func() {
			for i := range c.Len() {
				must(t, c.Certify(i, ca, []*certs.CA{ca}, certs.Valid(time.Now().Add(-time.Hour), end)))
				must(t, c.Node(i).Reload())
			}
			time.Sleep(time.Until(end) + noticed)
			if err := dialMember(ctx, t, c, memberPair(t, ca), ca); err == nil {
				t.Error("a new connection to a member with an expired certificate was accepted")
			}
			if n := strings.Count(logs.String(), "the certificate of this node has expired"); n < c.Len() {
				t.Errorf("%d errors about expired certificates, want one of each node", n)
			}
			if n := c.Node(0).TLSStats().Failures; n != 0 {
				t.Errorf("%d failures to reload", n)
			}
			certifyAll(t, c, ca, ca)
			time.Sleep(noticed)
			if err := dialMember(ctx, t, c, memberPair(t, ca), ca); err != nil {
				t.Errorf("after a renewal: %v", err)
			}
		})
	})
}

// TLS is turned on in a running mesh, in two rolling restarts, and off again.
func TestSimMigrate(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		members := make([]string, 3)
		set := func(i int, mode string) { members[i] = mode }
		for i := range members {
			set(i, mesh.TLSOff)
		}
		c := cluster.Start(t, cluster.Options{Net: cluster.Memory, TLS: cluster.TLSMembers, MaxTTL: 10 * time.Second, Configure: func(i int, cfg *mesh.Config) {
			if cfg.TLS.Members = members[i]; members[i] == mesh.TLSOff {
				cfg.TLS = mesh.TLS{}
			}
		}})
		ctx := long(t)
		underLoad(ctx, t, c, func() {
			for _, mode := range []string{mesh.TLSMigrate, mesh.TLSRequired, mesh.TLSMigrate, mesh.TLSOff} {
				for i := range c.Len() {
					set(i, mode)
					must(t, c.Stop(ctx, i))
					must(t, c.Restart(ctx, i))
					must(t, c.WaitReady(ctx))
				}
				time.Sleep(time.Second)
				secure := 0
				for i := range c.Len() {
					if c.Node(i).TLSStats().Streams > 0 {
						secure++
					}
				}
				if mode != mesh.TLSOff && secure != c.Len() {
					t.Errorf("%s: %d nodes have streams with certificates, want all", mode, secure)
				}
				err := plainMember(ctx, t, c)
				if refused := err != nil; refused != (mode == mesh.TLSRequired) {
					t.Errorf("%s: a stream without TLS: %v", mode, err)
				}
			}
		})
	})
}

// A member that is configured without TLS cannot join a mesh with it, and both sides log why.
func TestSimPlainMemberStaysOut(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		var logs logLines
		c := cluster.Start(t, cluster.Options{Net: cluster.Memory, TLS: cluster.TLSMembers, Logs: &logs, Configure: func(i int, cfg *mesh.Config) {
			if i == 3 {
				cfg.TLS = mesh.TLS{}
			}
		}})
		ctx := long(t)
		i, err := c.Add(ctx)
		must(t, err)
		time.Sleep(noticed)
		if n := len(c.Node(0).Status().Members); n != 3 {
			t.Errorf("%d members", n)
		}
		said := logs.String()
		for _, want := range []string{"this node has TLS between members, and who sent it has not", "takes streams with TLS only, and this node has none between members"} {
			if !strings.Contains(said, want) {
				t.Errorf("the log does not say %q", want)
			}
		}
		_, err = c.Client(0).Acquire(ctx, "k")
		must(t, err)
		c.Kill(i)
	})
}
