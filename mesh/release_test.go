package mesh

import (
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sgkandale/sharelock/internal/clock"
	"github.com/sgkandale/sharelock/internal/meshhook"
	"github.com/sgkandale/sharelock/internal/release"
	"github.com/sgkandale/sharelock/internal/wake"
	"github.com/sgkandale/sharelock/mesh/epoch"
	"github.com/sgkandale/sharelock/mesh/epoch/epochtest"
	"github.com/sgkandale/sharelock/mesh/gossip"
	"github.com/sgkandale/sharelock/mesh/identity"
	"github.com/sgkandale/sharelock/mesh/view"
	"github.com/sgkandale/sharelock/owner"
	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
	"github.com/sgkandale/sharelock/ring"
)

// A process that has followed a view writes its release down, so that the next start
// knows it.
func TestViewRaisesTheDataDir(t *testing.T) {
	path, own := t.TempDir(), release.Range{Oldest: release.Current, Newest: release.Current + 1}
	n := &Node{hooks: meshhook.Hooks{Releases: own}, log: slog.New(slog.DiscardHandler)}
	n.data = mustOpenDir(t, path, own)
	v := viewOf("a")
	v.Release = own.Newest
	if err := n.fits(v); err != nil {
		t.Fatal(err)
	}
	if err := n.data.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := identity.Open(path, release.Own()); !errors.Is(err, release.ErrNewer) {
		t.Errorf("a program that does not know the view's release opens the directory: %v", err)
	}
	mustOpenDir(t, path, own)
}

func mustOpenDir(t *testing.T, path string, program release.Range) *identity.Dir {
	t.Helper()
	d, err := identity.Open(path, program)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

// W3: a view of a later release ends the process, whoever brings it.
func TestViewOfALaterReleaseEndsTheNode(t *testing.T) {
	n := actingNode(t)
	s := n.views.Now().State
	v := s.View().Clone()
	v.Epoch, v.Release = v.Epoch+1, release.Current+1
	s.History = s.History.Append(v)
	if err := n.views.Offer(s); !errors.Is(err, release.ErrNewer) {
		t.Errorf("the view was taken, error %v", err)
	}
	select {
	case <-n.Done():
	default:
		t.Fatal("the node goes on")
	}
	if err := n.Err(); !errors.Is(err, release.ErrNewer) {
		t.Errorf("the node ended because %v", err)
	}
	if got := n.epoch(); got != v.Epoch-1 {
		t.Errorf("it acts in epoch %d", got)
	}
}

// W1: what gossip knows of on its way into the view counts, unless it cannot come in (W2).
func TestReleasesOf(t *testing.T) {
	var list []gossip.Process
	for _, r := range []release.Range{
		{Oldest: release.Oldest, Newest: release.Current},
		{Oldest: release.Oldest, Newest: release.Current + 7},
		{Oldest: release.Current + 1, Newest: release.Current + 9},
		{},
	} {
		list = append(list, gossip.Process{Meta: &peerv1.Meta{Release: r.Newest, OldestRelease: r.Oldest}})
	}
	if got, want := releasesOf(list, release.Current), []uint32{release.Current, release.Current + 7}; !slices.Equal(got, want) {
		t.Errorf("in a view: %v, want %v", got, want)
	}
	if got := releasesOf(list, 0); len(got) != len(list) {
		t.Errorf("before the first view: %v, want all", got)
	}
	if got := lowestOf([]uint32{7, 5}, 1); got != 5 {
		t.Errorf("a cluster that is born among releases 7 and 5 has release %d", got)
	}
	if got := lowestOf([]uint32{7, 0}, 3); got != 3 {
		t.Errorf("a cluster that is born among releases 7 and 0 has release %d, and this program's oldest is 3", got)
	}
}

// A node whose mesh.cluster is not that of its data directory does not start.
func TestNodeOfAnotherClusterDoesNotStart(t *testing.T) {
	path := t.TempDir()
	d := mustOpenDir(t, path, release.Own())
	if err := d.SetCluster("theirs", time.Second); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	cfg := DefaultConfig()
	cfg.Name, cfg.DataDir, cfg.Cluster, cfg.Found = "a", path, "ours", true
	cfg.HTTPListen, cfg.GRPCListen, cfg.PeerListen, cfg.GossipListen = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	cfg.Logger = slog.New(slog.DiscardHandler)
	n, err := New(cfg)
	if err == nil {
		n.Kill()
		t.Fatal("the node has started")
	}
	for _, want := range []string{"mesh.cluster", `"ours"`, `"theirs"`, path} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error lacks %s: %v", want, err)
		}
	}
}

// actingNode is as much of the member a, in a view with b, as needs no network.
func actingNode(t *testing.T) *Node {
	t.Helper()
	n := &Node{clock: clock.Monotonic(), log: quiet(), leased: wake.New(), self: viewOf("a").Members[0].Identity}
	n.begin()
	n.cfg.Lease = 2 * time.Second
	var err error
	if n.data, err = identity.Open("", release.Own()); err != nil {
		t.Fatal(err)
	}
	n.views = epoch.New(epoch.Config{Lease: n.cfg.Lease, Fits: n.fits, Log: n.log, Follow: func(s view.State) (*owner.Service, error) {
		service := owner.NewService(owner.Config{
			Self: n.self, Name: "a", Partitions: s.Constants().Partitions(), MaxTTL: time.Minute, MaxWaiters: 1, Shards: 1,
			Clock: n.clock, Peers: epochtest.Nobody{}, Log: n.log,
		})
		t.Cleanup(service.Stop)
		return service, nil
	}})
	n.showView(t, 1, "a", "b")
	t.Cleanup(func() {
		n.cancel()
		n.tasks.close()
		if err := n.data.Close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

// showView has the node act in a view.
func (n *Node) showView(t *testing.T, epoch uint32, names ...string) {
	t.Helper()
	views := []ring.View{epochtest.View(1, "a", "b")}
	if epoch > 1 {
		views = append(views, epochtest.View(epoch, names...))
	}
	if err := n.views.Offer(epochtest.State(views...)); err != nil {
		t.Fatal(err)
	}
}
