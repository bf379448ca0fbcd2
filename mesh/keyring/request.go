package keyring

import (
	"errors"
	"fmt"
)

// Action is what a member is asked to do with its keys.
type Action uint8

// The actions.
const (
	Read Action = iota
	Install
	Use
	Remove
)

var actionNames = [...]string{Read: "read", Install: "install", Use: "use", Remove: "remove"}

// String returns the action as written in commands.
func (a Action) String() string {
	if int(a) < len(actionNames) {
		return actionNames[a]
	}
	return fmt.Sprintf("Action(%d)", uint8(a))
}

// Request is what one member is asked.
type Request struct {
	Action Action
	// Key is to be installed. Fingerprint names the key to use or remove.
	Key         Key
	Fingerprint Fingerprint
	// WithKeys asks for the keys themselves.
	WithKeys bool
}

// name returns the fingerprint of the key that a request is about.
func (r Request) name() Fingerprint {
	if r.Action == Install {
		return r.Key.Fingerprint()
	}
	return r.Fingerprint
}

// Report is the state of the keys of one member.
type Report struct {
	// Keys are the fingerprints of its keys, the primary first.
	Keys []Fingerprint
	// Ring is the keys themselves, if they were asked for.
	Ring Ring
	// Mode is how the member encrypts. FromFile: its keys come from a file.
	Mode     Mode
	FromFile bool
}

// errAction is returned for an action that this program does not know.
var errAction = errors.New("unknown action on the keyring")

// Do carries out a request to this process.
func (k *Keys) Do(r Request) (Report, error) {
	ring := k.Ring()
	var err error
	switch r.Action {
	case Read:
	case Install:
		ring, err = k.Change(func(ring Ring) (Ring, error) { return ring.Install(r.Key) })
	case Use:
		ring, err = k.Change(func(ring Ring) (Ring, error) { return ring.Use(r.Fingerprint) })
	case Remove:
		ring, err = k.Change(func(ring Ring) (Ring, error) { return ring.Remove(r.Fingerprint) })
	default:
		err = fmt.Errorf("%w: %d", errAction, r.Action)
	}
	if err != nil {
		return Report{}, err
	}
	report := Report{Keys: ring.Fingerprints(), Mode: k.Mode(), FromFile: k.FromFile()}
	if r.WithKeys {
		report.Ring = ring
	}
	return report, nil
}

// Adopt adds the keys of another member, whose primary becomes the primary here: a process that
// was away while the keys were changed, but can still talk to the others, catches up.
func (k *Keys) Adopt(other Ring) error {
	ring := k.Ring()
	if len(other) == 0 || len(ring) > 0 && ring[0] == other[0] && len(ring.Merge(other)) == len(ring) {
		return nil
	}
	_, err := k.Change(func(ring Ring) (Ring, error) { return ring.Merge(other), nil })
	return err
}
