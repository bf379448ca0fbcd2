package gossip

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"testing"

	"github.com/hashicorp/memberlist"
	"google.golang.org/protobuf/proto"

	"github.com/sgkandale/sharelock/internal/ringproto"
	"github.com/sgkandale/sharelock/internal/rules"
	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
	"github.com/sgkandale/sharelock/ring"
)

// TestGossipTableRefuses: what the callbacks refuse, whatever the wire let
// through.
func TestGossipTableRefuses(t *testing.T) {
	own := testMeta("a", 1)
	own.ClusterId = []byte("one")
	table, err := newTable(own, netip.MustParseAddrPort("10.0.0.1:7946"), nil)
	if err != nil {
		t.Fatal(err)
	}
	node := func(change func(*peerv1.Meta, *memberlist.Node)) *memberlist.Node {
		meta := testMeta("b", 1)
		n := &memberlist.Node{Name: ringproto.DecodeIdentity(meta.GetIdentity()).String(), Addr: net.IPv4(10, 0, 0, 2), Port: 1}
		change(meta, n)
		if n.Meta == nil {
			n.Meta, _ = proto.Marshal(meta)
		}
		return n
	}
	good := node(func(*peerv1.Meta, *memberlist.Node) {})
	if err := table.NotifyAlive(good); err != nil {
		t.Errorf("a process of this mesh: %v", err)
	}
	for name, test := range map[string]struct {
		change func(*peerv1.Meta, *memberlist.Node)
		want   error
	}{
		"another mesh":      {func(m *peerv1.Meta, _ *memberlist.Node) { m.Cluster = "other" }, errForeignGossip},
		"another cluster":   {func(m *peerv1.Meta, _ *memberlist.Node) { m.ClusterId = []byte("two") }, errForeignGossip},
		"another's name":    {func(_ *peerv1.Meta, n *memberlist.Node) { n.Name = "id-c.1-0000000000000005" }, errBadMeta},
		"no identity":       {func(m *peerv1.Meta, n *memberlist.Node) { m.Identity = nil; n.Name = (ring.Identity{}).String() }, errBadMeta},
		"not a meta":        {func(_ *peerv1.Meta, n *memberlist.Node) { n.Meta = []byte{0xff} }, errBadMeta},
		"too long":          {func(_ *peerv1.Meta, n *memberlist.Node) { n.Meta = make([]byte, memberlist.MetaMaxSize+1) }, errBadMeta},
		"long cluster id":   {func(m *peerv1.Meta, _ *memberlist.Node) { m.ClusterId = make([]byte, rules.MaxClusterID+1) }, errBadMeta},
		"malformed address": {func(_ *peerv1.Meta, n *memberlist.Node) { n.Addr = []byte{1, 2, 3} }, errBadMeta},
	} {
		bad := node(test.change)
		if err := table.NotifyAlive(bad); !errors.Is(err, test.want) {
			t.Errorf("%s: NotifyAlive: %v, want %v", name, err, test.want)
		}
		if err := table.NotifyMerge([]*memberlist.Node{bad}); !errors.Is(err, test.want) {
			t.Errorf("%s: NotifyMerge: %v, want %v", name, err, test.want)
		}
		if err := table.NotifyMerge([]*memberlist.Node{bad, good}); err != nil {
			t.Errorf("%s beside a process of this mesh: NotifyMerge: %v", name, err)
		}
	}
}

// FuzzGossipMeta gives arbitrary bytes to every callback that gets them.
func FuzzGossipMeta(f *testing.F) {
	good, _ := proto.Marshal(testMeta("b", 1))
	f.Add("id-b.1-0000000000000005", good, []byte{10, 0, 0, 2}, uint16(7946))
	f.Add("id-b.1-0000000000000005", good, []byte{}, uint16(0))
	f.Add("id-a.1-0000000000000005", good, []byte{1}, uint16(1))
	f.Add("", []byte{}, []byte(nil), uint16(0))
	f.Fuzz(func(t *testing.T, name string, meta, addr []byte, port uint16) {
		table, err := newTable(testMeta("a", 1), netip.MustParseAddrPort("10.0.0.1:7946"), nil)
		if err != nil {
			t.Fatal(err)
		}
		n := &memberlist.Node{Name: name, Meta: meta, Addr: addr, Port: port}
		refused := table.NotifyAlive(n)
		_ = table.NotifyMerge([]*memberlist.Node{n})
		table.NotifyJoin(n)
		table.NotifyUpdate(n)
		table.NotifyMsg(meta)
		table.MergeRemoteState(meta, true)
		nodes := table.nodes()
		if want := 2; refused == nil && name != table.name && len(nodes) != want {
			t.Errorf("accepted, but %d nodes", len(nodes))
		}
		for _, node := range nodes {
			if node.Meta.GetCluster() != "mesh" || node.Meta.GetIdentity().GetId() == "" {
				t.Errorf("a node of another mesh or without an id: %v", node.Meta)
			}
			if _, err := netip.ParseAddrPort(node.Addr); err != nil {
				t.Errorf("gossip address: %v", err)
			}
		}
		table.NotifyLeave(n)
		if len(table.nodes()) != 1 {
			t.Error("still there after it left")
		}
	})
}

// A process of a mesh that was recovered from this one's records is noticed, however it is
// heard of; others are not taken for one.
func TestGossipTableSuccessor(t *testing.T) {
	node := func(change func(*peerv1.Meta)) *memberlist.Node {
		meta := testMeta("b", 1)
		meta.ClusterId, meta.Replaces = []byte("two"), [][]byte{[]byte("one")}
		change(meta)
		b, err := proto.Marshal(meta)
		if err != nil {
			t.Fatal(err)
		}
		return &memberlist.Node{Name: ringproto.DecodeIdentity(meta.GetIdentity()).String(), Addr: net.IPv4(10, 0, 0, 2), Port: 1, Meta: b}
	}
	hears := map[string]func(*table, *memberlist.Node) error{
		"alive": (*table).NotifyAlive,
		"merge": func(g *table, n *memberlist.Node) error { return g.NotifyMerge([]*memberlist.Node{n}) },
	}
	for name, test := range map[string]struct {
		change func(*peerv1.Meta)
		want   bool
	}{
		"successor":          {func(*peerv1.Meta) {}, true},
		"of another mesh":    {func(m *peerv1.Meta) { m.Cluster = "other" }, false},
		"recovered again":    {func(m *peerv1.Meta) { m.Replaces = [][]byte{[]byte("zero"), []byte("one"), []byte("three")} }, true},
		"of another cluster": {func(m *peerv1.Meta) { m.Replaces = [][]byte{[]byte("three")} }, false},
		"of no id":           {func(m *peerv1.Meta) { m.Replaces = [][]byte{nil} }, false},
		"founded":            {func(m *peerv1.Meta) { m.Replaces = nil }, false},
	} {
		for how, hear := range hears {
			own := testMeta("a", 1)
			own.ClusterId = []byte("one")
			table, err := newTable(own, netip.MustParseAddrPort("10.0.0.1:7946"), nil)
			if err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if err := hear(table, node(test.change)); !errors.Is(err, errForeignGossip) {
					t.Errorf("%s, %s: %v, want it refused", name, how, err)
				}
			}
			select {
			case <-table.replaced:
				if !test.want {
					t.Errorf("%s, %s: is taken for a successor", name, how)
				}
			default:
				if test.want {
					t.Errorf("%s, %s: is not noticed", name, how)
				}
			}
		}
	}
}

// A Meta names the newest clusters that were recovered, as many as it has room for.
func TestFitting(t *testing.T) {
	id := func(i int) []byte { return bytes.Repeat([]byte{byte(i)}, 16) }
	for n, want := range map[int]int{0: 0, 1: 1, 3: 3, 100: (memberlist.MetaMaxSize - proto.Size(testMeta("a", 1))) / 18} {
		var ids [][]byte
		for i := range n {
			ids = append(ids, id(i))
		}
		m := testMeta("a", 1)
		m.Replaces = Fitting(m, ids)
		if len(m.Replaces) != want || proto.Size(m) > memberlist.MetaMaxSize {
			t.Errorf("of %d ids %d are named, want %d; the meta has %d bytes", n, len(m.Replaces), want, proto.Size(m))
		}
		if want > 0 && !bytes.Equal(m.Replaces[want-1], id(n-1)) {
			t.Errorf("of %d ids the newest is not named", n)
		}
	}
}
