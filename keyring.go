package sharelock

import "fmt"

// Keyring is the gossip keys of a mesh, as the members of the view have them.
type Keyring struct {
	// Keys are those that any member has; what most members encrypt with comes first.
	Keys    []GossipKey
	Members []KeyringMember
}

// GossipKey is a key that encrypts gossip. Key is the key itself in base64, if it was asked for,
// and Fingerprint is its name. Installed members have the key, and Primary members encrypt with it.
type GossipKey struct {
	Fingerprint, Key   string
	Installed, Primary int
}

// KeyringMember is a member with its gossip keys. Encryption is off, migrate or required. FromFile
// reports whether its keys come from a file, and Err why the member did not answer, or is empty.
type KeyringMember struct {
	Name, Encryption string
	FromFile         bool
	Err              string
}

// KeyringAction is a change of gossip keys.
type KeyringAction uint8

// The changes.
const (
	// InstallKey adds a key.
	InstallKey KeyringAction = iota + 1
	// UseKey encrypts with a key that all members have.
	UseKey
	// RemoveKey removes a key that no member encrypts with.
	RemoveKey
	// RotateKeys installs a new key, uses it, and removes all others.
	RotateKeys
)

var keyringActions = [...]string{InstallKey: "install", UseKey: "use", RemoveKey: "remove", RotateKeys: "rotate"}

// String returns the action as the command has it.
func (a KeyringAction) String() string {
	if a > 0 && int(a) < len(keyringActions) {
		return keyringActions[a]
	}
	return fmt.Sprintf("KeyringAction(%d)", uint8(a))
}

// KeyringChange is a change of the gossip keys of all members.
type KeyringChange struct {
	Action KeyringAction
	// Key is the key in base64; to use or remove one, its fingerprint is enough.
	Key string
	// WithoutAbsent makes the change although the holder of a seat is absent.
	WithoutAbsent bool
}
