package sharelockv1

import (
	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/intconv"
)

// KeyringToProto returns the gossip keys of a mesh on the wire.
func KeyringToProto(k sharelock.Keyring) *Keyring {
	return &Keyring{
		Keys: each(k.Keys, func(k sharelock.GossipKey) *GossipKey {
			return &GossipKey{Fingerprint: k.Fingerprint, Key: k.Key, Installed: intconv.Uint32(k.Installed), Primary: intconv.Uint32(k.Primary)}
		}),
		Members: each(k.Members, func(m sharelock.KeyringMember) *KeyringMember {
			return &KeyringMember{Name: m.Name, Encryption: m.Encryption, FromFile: m.FromFile, Error: m.Err}
		}),
	}
}

// KeyringFromProto returns the gossip keys that the wire names. For nil it returns the zero Keyring.
func KeyringFromProto(m *Keyring) sharelock.Keyring {
	return sharelock.Keyring{
		Keys: each(m.GetKeys(), func(k *GossipKey) sharelock.GossipKey {
			return sharelock.GossipKey{Fingerprint: k.GetFingerprint(), Key: k.GetKey(), Installed: int(k.GetInstalled()), Primary: int(k.GetPrimary())}
		}),
		Members: each(m.GetMembers(), func(m *KeyringMember) sharelock.KeyringMember {
			return sharelock.KeyringMember{Name: m.GetName(), Encryption: m.GetEncryption(), FromFile: m.GetFromFile(), Err: m.GetError()}
		}),
	}
}

var keyringActions = map[KeyringAction]sharelock.KeyringAction{
	KeyringAction_KEYRING_ACTION_INSTALL: sharelock.InstallKey,
	KeyringAction_KEYRING_ACTION_USE:     sharelock.UseKey,
	KeyringAction_KEYRING_ACTION_REMOVE:  sharelock.RemoveKey,
	KeyringAction_KEYRING_ACTION_ROTATE:  sharelock.RotateKeys,
}

// KeyringChangeFromProto returns the change that the wire names; its action is 0 if that is not
// known.
func KeyringChangeFromProto(m *ChangeKeyringRequest) sharelock.KeyringChange {
	return sharelock.KeyringChange{Action: keyringActions[m.GetAction()], Key: m.GetGossipKey(), WithoutAbsent: m.GetWithoutAbsent()}
}
