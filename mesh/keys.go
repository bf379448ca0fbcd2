package mesh

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/mesh/gossip"
	"github.com/sgkandale/sharelock/mesh/identity"
	"github.com/sgkandale/sharelock/mesh/keyring"
	"github.com/sgkandale/sharelock/mesh/peer"
	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
)

// gossipKeys are the gossip keys of this process, and of the mesh as this process changes them.
type gossipKeys struct {
	own *keyring.Keys
	all *keyring.Mesh
	// announced are the fingerprints of the keys in use, as gossip tells them.
	announced atomic.Pointer[[][]byte]
}

// InstallGossipKey puts a gossip key into the data directory of a node that does not run, as its
// primary key: with it the node can join a mesh that encrypts.
func InstallGossipKey(dataDir string, k keyring.Key) error {
	if dataDir == "" {
		return errors.New("node.data_dir is empty: a node that keeps nothing on disk has its gossip keys from mesh.gossip_keys_file only")
	}
	return identity.ChangeKeyring(dataDir, func(old []byte) ([]byte, error) { return keyring.AddPrimary(old, k) })
}

// openKeys reads the gossip keys.
func (n *Node) openKeys() (err error) {
	log := n.log.With("part", "keyring")
	n.keys.own, err = keyring.Open(keyring.Config{Mode: n.cfg.GossipEncryption, File: n.cfg.GossipKeysFile, Store: n.data, Log: log})
	return err
}

// openKeyring makes this node one that changes the keys of all members.
func (n *Node) openKeyring() {
	n.keys.all = keyring.NewMesh(keyring.MeshConfig{
		Self: n.self, Own: n.keys.own, Members: n.keyHolders, Changed: n.views.Changed, Call: n.peers.Keyring, Log: n.log.With("part", "keyring"),
	})
}

// required reports whether this process takes encrypted gossip only. While it migrates it reads plain
// gossip of anyone, too.
func (k *gossipKeys) required() bool {
	return k.own.Mode() == keyring.Required && len(k.own.Ring()) > 0
}

// useKeys makes gossip encrypt with the keys, now and after each change.
func (n *Node) useKeys() error {
	return n.keys.own.Attach(func(r keyring.Ring) error {
		if err := n.gossip.SetKeys(r); err != nil {
			return err
		}
		n.keys.announce(r)
		n.announce()
		return nil
	})
}

// announce keeps which keys gossip tells others about.
func (k *gossipKeys) announce(r keyring.Ring) {
	var list [][]byte
	for _, f := range r.Fingerprints() {
		list = append(list, f[:])
	}
	k.announced.Store(&list)
}

// keyHolders are the members whose gossip keys are changed together.
func (n *Node) keyHolders() (keyring.Members, error) {
	a := n.views.Now()
	if a == nil {
		return keyring.Members{}, n.Ready()
	}
	if !a.Supports(peer.KeyringRelease) {
		return keyring.Members{}, &sharelock.Error{Err: sharelock.ErrNotReady, Message: fmt.Sprintf(
			"the mesh is at release %d, and gossip keys need release %d: upgrade every node first", a.Release, peer.KeyringRelease)}
	}
	of := keyring.Members{Members: a.Members}
	seats, _ := n.seatsOf(a, n.voters())
	for _, s := range seats {
		if s.Absent {
			of.Absent = append(of.Absent, fmt.Sprintf("%s (%s)", s.Name, s.ID))
		}
	}
	return of, nil
}

// Keyring implements api.Mesh.
func (n *Node) Keyring(ctx context.Context, withKeys bool) (sharelock.Keyring, error) {
	return n.keys.all.Keyring(ctx, withKeys)
}

// ChangeKeyring implements api.Mesh.
func (n *Node) ChangeKeyring(ctx context.Context, c sharelock.KeyringChange) (sharelock.Keyring, error) {
	return n.keys.all.Change(ctx, c)
}

// GossipKeyReloads returns how often the file of gossip keys was read again and taken over, and
// how often it was refused.
func (n *Node) GossipKeyReloads() (taken, refused uint64) { return n.keys.own.Reloads() }

// fitting returns as many of the announced fingerprints as a Meta without them has room for.
func (k *gossipKeys) fitting(m *peerv1.Meta) [][]byte {
	if list := k.announced.Load(); list != nil {
		return gossip.FittingKeys(m, *list)
	}
	return nil
}
