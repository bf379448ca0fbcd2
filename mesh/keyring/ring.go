package keyring

import (
	"errors"
	"fmt"
	"slices"
)

// MaxKeys is the maximum number of keys in a ring. A rotation needs two.
const MaxKeys = 8

// The errors of a change of a ring.
var (
	// ErrUnknownKey: the ring does not have the key.
	ErrUnknownKey = errors.New("the key is not installed")
	// ErrPrimary: the primary key cannot be removed.
	ErrPrimary = errors.New("the key is the primary one: use another key before it is removed")
	// ErrFull: the ring has no room for another key.
	ErrFull = fmt.Errorf("the keyring has %d keys already: remove one before another is installed", MaxKeys)
)

// Ring is the keys of a process, the primary first. It is never changed in place: the methods
// return a new Ring. The zero value has no keys.
type Ring []Key

// Primary returns the key that encrypts; ok is false if there are no keys.
func (r Ring) Primary() (k Key, ok bool) {
	if len(r) == 0 {
		return Key{}, false
	}
	return r[0], true
}

// index returns the index of a key in the ring, -1 if it is not there.
func (r Ring) index(f Fingerprint) int {
	return slices.IndexFunc(r, func(k Key) bool { return k.Fingerprint() == f })
}

// Has reports whether the ring has a key.
func (r Ring) Has(f Fingerprint) bool { return r.index(f) >= 0 }

// Install returns the ring with one more key at its end, so the first key of a ring becomes the
// primary. A ring that has the key stays as it is.
func (r Ring) Install(k Key) (Ring, error) {
	switch {
	case slices.Contains(r, k):
		return r, nil
	case len(r) >= MaxKeys:
		return nil, ErrFull
	}
	return append(slices.Clone(r), k), nil
}

// Use returns the ring with another key as the primary.
func (r Ring) Use(f Fingerprint) (Ring, error) {
	i := r.index(f)
	switch {
	case i < 0:
		return nil, fmt.Errorf("%w: %v", ErrUnknownKey, f)
	case i == 0:
		return r, nil
	}
	return append(Ring{r[i]}, slices.Delete(slices.Clone(r), i, i+1)...), nil
}

// Remove returns the ring without a key. A ring that does not have the key stays as it is, so
// that the step can be repeated.
func (r Ring) Remove(f Fingerprint) (Ring, error) {
	switch i := r.index(f); {
	case i < 0:
		return r, nil
	case i == 0:
		return nil, ErrPrimary
	default:
		return slices.Delete(slices.Clone(r), i, i+1), nil
	}
}

// Merge returns the keys of another ring, followed by the keys that only r has. The other ring's
// primary becomes the primary. If there are more than MaxKeys keys, the last ones are left out.
func (r Ring) Merge(other Ring) Ring {
	merged := slices.Clone(other)
	for _, k := range r {
		if !slices.Contains(merged, k) {
			merged = append(merged, k)
		}
	}
	return merged[:min(len(merged), MaxKeys)]
}

// Fingerprints returns the fingerprints of the keys, in their order.
func (r Ring) Fingerprints() []Fingerprint {
	list := make([]Fingerprint, len(r))
	for i, k := range r {
		list[i] = k.Fingerprint()
	}
	return list
}

// Bytes returns the keys as byte slices, as AES needs them.
func (r Ring) Bytes() [][]byte {
	list := make([][]byte, len(r))
	for i, k := range r {
		list[i] = slices.Clone(k[:])
	}
	return list
}
