package gossip

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/hashicorp/memberlist"

	"github.com/sgkandale/sharelock/mesh/keyring"
)

// sealedOverhead is what encryption adds to a packet: version, nonce and tag.
const sealedOverhead = 1 + nonceSize + tagSize

// openKeys makes what encrypts. memberlist knows one way to send for all destinations, which is
// enough once everybody reads what is encrypted. Until then it sends plain, and the transport
// encrypts for those that can read it (seal.go).
func (g *Gossip) openKeys() error {
	if g.cfg.Encryption != keyring.Migrate && g.cfg.Encryption != keyring.Required {
		return nil
	}
	if err := g.checkKeys(g.cfg.Keys); err != nil {
		return err
	}
	var err error
	if g.keys, err = memberlist.NewKeyring(nil, nil); err != nil {
		return err
	}
	if g.cfg.Encryption == keyring.Migrate {
		g.sealer = newSealer(label(g.cfg.Meta.GetCluster()), g.keys)
	}
	return setKeys(g.keys, g.cfg.Keys.Bytes())
}

// errNoKeys: memberlist does not encrypt without keys, whatever else it is told.
var errNoKeys = errors.New("encryption is required, but there are no keys")

func (g *Gossip) checkKeys(ring keyring.Ring) error {
	if len(ring) == 0 && g.cfg.Encryption == keyring.Required {
		return errNoKeys
	}
	return nil
}

// encrypt makes memberlist do its part.
func (g *Gossip) encrypt(c *memberlist.Config) {
	if g.keys == nil {
		return
	}
	c.Keyring = g.keys
	c.GossipVerifyIncoming = g.sealer == nil
	c.GossipVerifyOutgoing = g.sealer == nil
	if g.sealer != nil {
		c.UDPBufferSize -= sealedOverhead
	}
}

// SetKeys replaces the keys; the first encrypts. Without encryption it does nothing.
func (g *Gossip) SetKeys(ring keyring.Ring) error {
	if g.keys == nil {
		return nil
	}
	g.setting.Lock()
	defer g.setting.Unlock()
	err := g.checkKeys(ring)
	if err == nil {
		err = setKeys(g.keys, ring.Bytes())
	}
	if err != nil {
		return fmt.Errorf("gossip: %w", err)
	}
	return nil
}

// setKeys makes a ring have these keys, the first as the primary.
//
// Of memberlist's changes only RemoveKey moves keys that a reader may be looking at, unless the
// key is the last. So those that are to go are brought to the end before: using the others, one
// after the other, puts each in front of them. What is sent at that moment may be encrypted with
// another key of the ring; who cannot read it misses a packet, which gossip repairs.
func setKeys(ring *memberlist.Keyring, keys [][]byte) error {
	for _, k := range keys {
		if err := ring.AddKey(k); err != nil {
			return err
		}
	}
	surplus := slices.DeleteFunc(slices.Clone(ring.GetKeys()), func(k []byte) bool {
		return slices.ContainsFunc(keys, func(wanted []byte) bool { return bytes.Equal(k, wanted) })
	})
	if len(surplus) == 0 && len(keys) > 0 {
		return ring.UseKey(keys[0])
	}
	for _, k := range slices.Backward(keys) {
		if err := ring.UseKey(k); err != nil {
			return err
		}
	}
	// The surplus keys are the last ones now, in the order in which they were.
	for _, k := range slices.Backward(surplus) {
		if err := ring.RemoveKey(k); err != nil {
			return err
		}
	}
	return nil
}
