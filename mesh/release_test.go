package mesh

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sgkandale/sharelock/internal/release"
	"github.com/sgkandale/sharelock/mesh/view"
	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
)

// A data directory of a later release is refused, is not called damaged, and is not
// changed.
func TestDataDirOfALaterRelease(t *testing.T) {
	path := t.TempDir()
	d := mustOpenDir(t, path)
	if err := d.RaiseRelease(release.Current + 1); err != nil {
		t.Fatal(err)
	}
	if err := d.RaiseRelease(release.Current); err != nil { // it never falls
		t.Fatal(err)
	}
	_ = d.Close()
	before := filesOf(t, path)
	_, err := openDataDir(path, release.Own())
	if !errors.Is(err, release.ErrNewer) || errors.Is(err, errRecordCorrupt) || strings.Contains(err.Error(), "damaged") {
		t.Errorf("opened: %v", err)
	}
	if want := release.Newer(release.Current + 1).Error(); err != nil && !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want %q in it", err, want)
	}
	if after := filesOf(t, path); after != before {
		t.Errorf("the directory has changed from\n%s\nto\n%s", before, after)
	}
}

// So is one whose records have a later form.
func TestRecordOfALaterRelease(t *testing.T) {
	for _, name := range []string{releaseFile, identityFile} {
		path := t.TempDir()
		_ = mustOpenDir(t, path).Close()
		file := filepath.Join(path, name)
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		body := bytes.Replace(data[:bytes.LastIndex(data, []byte("crc32c "))], []byte(name+" 1\n"), []byte(name+" 7\nmore of it\n"), 1)
		data = append(body, []byte("crc32c "+fmt.Sprintf("%08x", crc32c(body))+"\n")...)
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := openDataDir(path, release.Own()); !errors.Is(err, release.ErrNewer) || errors.Is(err, errRecordCorrupt) {
			t.Errorf("%s: opened: %v", name, err)
		}
	}
}

// A directory from before release 1 has no record of a release.
func TestDataDirFromBeforeReleases(t *testing.T) {
	path := t.TempDir()
	_ = mustOpenDir(t, path).Close()
	if err := os.Remove(filepath.Join(path, releaseFile)); err != nil {
		t.Fatal(err)
	}
	if _, err := openDataDir(path, release.Own()); !errors.Is(err, release.ErrOlder) || !strings.Contains(err.Error(), "docs/upgrade.md") {
		t.Errorf("opened: %v", err)
	}
}

// A process that has followed a view writes its release down, so that the next start
// knows it.
func TestViewRaisesTheDataDir(t *testing.T) {
	n := &Node{log: slog.New(slog.DiscardHandler), done: make(chan struct{})}
	path := t.TempDir()
	n.data = mustOpenDir(t, path)
	n.data.release = 0 // as if this program worked with older ones, too
	v := viewOf("a")
	v.Release = release.Current
	if err := n.fits(v); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(path, releaseFile))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := decodeRelease(data); got != release.Current || err != nil {
		t.Errorf("the directory says %d, %v, want %d", got, err, release.Current)
	}
}

// W3: a view of a later release ends the process, whoever brings it.
func TestViewOfALaterReleaseEndsTheNode(t *testing.T) {
	n := linkNode(t, nil)
	n.done = make(chan struct{})
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

// W2, the joiner's side: a refusal is final and says both releases.
func TestRefusedJoiner(t *testing.T) {
	for name, c := range map[string]struct {
		resp *peerv1.JoinResponse
		want string // "" for no refusal
	}{
		"refused": {&peerv1.JoinResponse{
			Outcome: peerv1.JoinResponse_OUTCOME_RELEASE, Why: "c is release 1, and this mesh has release 2", Release: 2, OldestRelease: 1,
		}, "this mesh has release 2"},
		"a leader from before release 1": {&peerv1.JoinResponse{Outcome: peerv1.JoinResponse_OUTCOME_WAIT}, "before release 1"},
		"another that does not lead":     {&peerv1.JoinResponse{Outcome: peerv1.JoinResponse_OUTCOME_NOT_LEADER}, "before release 1"},
		"waits":                          {&peerv1.JoinResponse{Outcome: peerv1.JoinResponse_OUTCOME_WAIT, Release: 9, OldestRelease: 1}, ""},
	} {
		err := (&member{node: &Node{}}).refusedRelease("x:1", c.resp)
		if (err != nil) != (c.want != "") || err != nil && (!errors.Is(err, errRelease) || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), release.Own().String())) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// W2: a joiner that hears of a later release from somebody who does not lead goes on to the
// leader, so that both sides say why it is refused.
func TestJoinerIsRefusedByTheLeader(t *testing.T) {
	n := linkNode(t, nil)
	n.done = make(chan struct{})
	s := n.views.Now().State
	v := s.View().Clone()
	v.Epoch, v.Release = v.Epoch+1, release.Current+1
	s.History = s.History.Append(v)
	m := newMember(n)
	resp := &peerv1.JoinResponse{
		Outcome: peerv1.JoinResponse_OUTCOME_NOT_LEADER, History: view.StateToProto(s), Release: v.Release, OldestRelease: 1,
	}
	if err := m.learn("x:1", resp); err != nil || n.Err() != nil || n.epoch() == v.Epoch {
		t.Errorf("from one that does not lead: %v; the node ended because %v, in epoch %d", err, n.Err(), n.epoch())
	}
	resp.Outcome, resp.Why = peerv1.JoinResponse_OUTCOME_RELEASE, "a is release 1"
	if err := m.learn("x:1", resp); !errors.Is(err, errRelease) {
		t.Errorf("from the leader: %v", err)
	}
	v.Release = release.Current
	s.History.Views[len(s.History.Views)-1] = v
	resp = &peerv1.JoinResponse{Outcome: peerv1.JoinResponse_OUTCOME_NOT_LEADER, History: view.StateToProto(s), Release: 1, OldestRelease: 1}
	if err := m.learn("x:1", resp); err != nil || n.epoch() != v.Epoch {
		t.Errorf("a view that it knows: %v, in epoch %d", err, n.epoch())
	}
}

// W1: what gossip knows of on its way into the view counts, unless it cannot come in (W2).
func TestNearbyReleases(t *testing.T) {
	n := linkNode(t, nil)
	meta := func(id string, oldest, newest uint32) *peerv1.Meta {
		return &peerv1.Meta{Identity: &peerv1.Identity{Id: id, Counter: 1}, Name: id, Cluster: "x", Release: newest, OldestRelease: oldest}
	}
	table, err := newGossipTable(meta("a", release.Oldest, release.Current), netip.MustParseAddrPort("127.0.0.1:1"))
	if err != nil {
		t.Fatal(err)
	}
	n.gossip = &gossip{table: table}
	for id, r := range map[string]release.Range{
		"newer": {Oldest: release.Oldest, Newest: release.Current + 7}, "too new": {Oldest: release.Current + 1, Newest: release.Current + 9}, "old": {},
	} {
		table.live[id] = gossipNode{meta: meta(id, r.Oldest, r.Newest)}
	}
	got := n.nearbyReleases()
	slices.Sort(got)
	if want := []uint32{release.Current, release.Current + 7}; !slices.Equal(got, want) {
		t.Errorf("in a view: %v, want %v", got, want)
	}
	n.cfg.HoldRelease = 0
	if first := n.firstRelease(); first != release.Current {
		t.Errorf("a cluster that is born has release %d, want %d", first, release.Current)
	}
}

// W2: a program without a release in common does not answer a probe, as far as the one
// who asks is concerned.
func TestProbeNeedsACommonRelease(t *testing.T) {
	for _, c := range []struct {
		oldest, newest uint32
		ok             bool
	}{
		{0, 0, false},
		{release.Oldest, release.Current, true},
		{release.Current, release.Current + 5, true},
		{release.Current + 1, release.Current + 5, false},
	} {
		if err := (&Node{}).speaks(&peerv1.ProbeResponse{Release: c.newest, OldestRelease: c.oldest}); (err == nil) != c.ok {
			t.Errorf("releases %d to %d: %v", c.oldest, c.newest, err)
		}
	}
}

// filesOf is what is in a directory.
func filesOf(t *testing.T, path string) string {
	t.Helper()
	var all strings.Builder
	list, err := os.ReadDir(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		if e.IsDir() {
			continue
		}
		data, err := os.ReadFile(filepath.Join(path, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		all.WriteString(e.Name() + ":\n" + string(data))
	}
	return all.String()
}
