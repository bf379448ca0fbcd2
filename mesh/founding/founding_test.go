package founding

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/sgkandale/sharelock/internal/memnet"
	"github.com/sgkandale/sharelock/internal/ringproto"
	"github.com/sgkandale/sharelock/internal/virtual"
	"github.com/sgkandale/sharelock/mesh/gossip"
	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
	"github.com/sgkandale/sharelock/ring"
)

// V0: whether a process may found a cluster while no other process is there.
func TestMayFoundAlone(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		for name, test := range map[string]struct {
			wanted bool
			seeds  []string
			index  int
			want   string // "" for yes
		}{
			"--found without seeds":          {true, nil, 0, ""},
			"--found as the only seed":       {true, []string{"a:7946"}, 1, ""},
			"--found beside a silent seed":   {true, []string{"a:7946", "b:7946"}, 1, "b:7946"},
			"the only seed":                  {false, []string{"a:7946"}, 1, "--found"},
			"the first seed, others missing": {false, []string{"a:7946", "b:7946"}, 1, "waits for seed b:7946"},
			"another seed":                   {false, []string{"b:7946", "a:7946"}, 2, waitJoin},
		} {
			n := memnet.New(1)
			n.Host("b")
			id := ring.Identity{ID: "a", Counter: 1, Nonce: 7}
			g, err := gossip.Start(gossip.Config{
				Meta: &peerv1.Meta{
					Identity: ringproto.EncodeIdentity(id), Name: "a", Cluster: "x", SeedIndex: uint32(test.index), SeedsHash: gossip.SeedsHash(test.seeds),
				},
				Listen: ":7946", Seeds: test.seeds, Network: n.Host("a"), Log: slog.New(slog.DiscardHandler),
			})
			if err != nil {
				t.Fatal(err)
			}
			f := Founder{
				Self: id, Wanted: test.wanted, Seeds: test.seeds, Gossip: g, SameCluster: func([]byte) bool { return false },
				Place: g.SeedIndex, Log: slog.New(slog.DiscardHandler),
			}
			others, why := f.mayFound()
			if (why == "") != (test.want == "") || !strings.Contains(why, test.want) || len(others) != 0 {
				t.Errorf("%s: asks %v, %q, want %q", name, others, why, test.want)
			}
			if err := g.Close(); err != nil {
				t.Error(err)
			}
		}
		time.Sleep(4 * time.Second) // the longest time for which a probe of memberlist runs after Close
	})
}
