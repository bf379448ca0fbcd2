package keyring

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// recordVersion is the version of the ring's form in the data directory.
const recordVersion = 1

// errDamaged is returned if the ring in the data directory cannot be read. The ring is never
// replaced, because without its keys the process could not talk to the others.
var errDamaged = errors.New("the keyring is damaged")

// record is the form of a ring in the data directory.
type record struct {
	Version int `json:"version"`
	// Keys are in base64, the primary first.
	Keys []string `json:"keys"`
}

// encode returns the stored form of a ring.
func encode(r Ring) []byte {
	rec := record{Version: recordVersion, Keys: []string{}}
	for _, k := range r {
		rec.Keys = append(rec.Keys, k.Text())
	}
	data, err := json.MarshalIndent(rec, "", "  ")
	if err != nil {
		panic(err) // strings and a number
	}
	return append(data, '\n')
}

// decode reads what encode has written. Empty data means a ring without keys.
func decode(data []byte) (Ring, error) {
	if len(data) == 0 {
		return nil, nil
	}
	var rec record
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&rec); err != nil || dec.More() {
		// The error of the decoder may contain a part of a key.
		return nil, fmt.Errorf("%w: it is not the JSON that was written", errDamaged)
	}
	if rec.Version != recordVersion {
		return nil, fmt.Errorf("the keyring has version %d, this program knows version %d", rec.Version, recordVersion)
	}
	if len(rec.Keys) > MaxKeys {
		return nil, fmt.Errorf("%w: it has %d keys, at most %d are allowed", errDamaged, len(rec.Keys), MaxKeys)
	}
	var ring Ring
	for i, text := range rec.Keys {
		k, err := ParseKey(text)
		if err != nil {
			return nil, fmt.Errorf("%w: key %d: %w", errDamaged, i+1, err)
		}
		if slices.Contains(ring, k) {
			return nil, fmt.Errorf("%w: key %d is there twice", errDamaged, i+1)
		}
		ring = append(ring, k)
	}
	return ring, nil
}

// AddPrimary returns a stored ring with a key in front of it.
func AddPrimary(stored []byte, k Key) ([]byte, error) {
	ring, err := decode(stored)
	if err == nil {
		ring, err = ring.Install(k)
	}
	if err == nil {
		ring, err = ring.Use(k.Fingerprint())
	}
	if err != nil {
		return nil, err
	}
	return encode(ring), nil
}
