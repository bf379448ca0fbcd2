package keyring

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// The settings that errors name.
const (
	modeSetting = "mesh.gossip_encryption"
	fileSetting = "mesh.gossip_keys_file"
)

// lookEvery is how often the keys file is read. A change is in use within twice that time.
const lookEvery = 4 * time.Second

// The reasons why a process does not change its ring.
var (
	// ErrFromFile: the ring comes from the keys file, and nothing else changes it.
	ErrFromFile = errors.New("the keys come from " + fileSetting)
	// ErrOff: the process does not encrypt. If it had keys, it would require encryption after its
	// next start.
	ErrOff = errors.New("gossip is not encrypted here: start the node with " + modeSetting + ": migrate first")
)

// errRequired is returned if encryption is required and there are no keys.
var errRequired = errors.New(modeSetting + " is required, but there are no gossip keys: name a file of keys in " + fileSetting +
	", or put the mesh's key into the data directory with 'sharelock keyring install --data-dir'")

// Store keeps the ring of a process across its starts; the data directory is one.
type Store interface {
	// Keyring returns what SetKeyring stored last, or nothing if it was never called.
	Keyring() ([]byte, error)
	// SetKeyring returns when the data is synced.
	SetKeyring(data []byte) error
}

// Config says where a ring comes from.
type Config struct {
	Mode Mode
	// File is the path of the keys file. If it is empty, the keys are in Store.
	File  string
	Store Store
	// Log is never nil.
	Log *slog.Logger
}

// Keys is the ring of this process. All methods are safe for concurrent use.
type Keys struct {
	cfg  Config
	mode Mode // not Auto

	// reloaded and refused count the readings of the keys file since the start, see Reloads.
	reloaded, refused atomic.Uint64

	mu    sync.Mutex // guards what follows, and serialises changes
	ring  Ring
	apply func(Ring) error
	// seen is the hash of the keys file that is in use. trouble is the text of the error of the
	// last reading, or ""; each error is logged once.
	seen    [sha256.Size]byte
	trouble string
}

// Open reads the ring.
func Open(cfg Config) (*Keys, error) {
	k := &Keys{cfg: cfg, mode: cfg.Mode}
	if k.mode == Off {
		if cfg.File != "" {
			cfg.Log.Warn("gossip is not encrypted: " + fileSetting + " is not used, because " + modeSetting + " is off")
		}
		return k, nil
	}
	if err := k.read(); err != nil {
		return nil, err
	}
	switch {
	case len(k.ring) > 0 && k.mode == Auto:
		k.mode = Required
	case k.mode == Auto:
		k.mode = Off
	case len(k.ring) == 0 && k.mode == Required:
		return nil, errRequired
	}
	return k, nil
}

// read reads the ring at the start. If there is a keys file, a ring in the data directory is not
// used; read logs a warning if the two differ, because somebody may have changed the wrong one.
func (k *Keys) read() error {
	stored, err := k.cfg.Store.Keyring()
	var ring Ring
	if err == nil {
		ring, err = decode(stored)
	}
	if k.cfg.File == "" {
		if err != nil {
			return fmt.Errorf("keyring.json in the data directory: %w", err)
		}
		k.ring = ring
		return nil
	}
	data, err := readFile(k.cfg.File)
	if err == nil {
		k.seen = sha256.Sum256(data)
		k.ring, err = ParseFile(data)
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w", fileSetting, k.cfg.File, err)
	}
	if own, ok := ring.Primary(); ok && own != k.ring[0] {
		k.cfg.Log.Warn("the gossip keys of the data directory are not used, because "+fileSetting+" is set", "file_primary", k.ring[0], "data_directory_primary", own)
	}
	return nil
}

// Mode returns how gossip is encrypted; it is never Auto.
func (k *Keys) Mode() Mode { return k.mode }

// FromFile reports whether the ring comes from a keys file.
func (k *Keys) FromFile() bool { return k.cfg.File != "" && k.mode != Off }

// Ring returns the ring.
func (k *Keys) Ring() Ring {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.ring
}

// Reloads returns how often, since the start, the keys file was read again and put in use, and how
// often it was refused.
func (k *Keys) Reloads() (taken, refused uint64) { return k.reloaded.Load(), k.refused.Load() }

// Attach calls apply with the current ring, and again after each change. apply must not call
// methods of k.
func (k *Keys) Attach(apply func(Ring) error) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.apply = apply
	return apply(k.ring)
}

// Change replaces the current ring by the result of do: it stores the new ring and makes gossip use
// it. It fails with [ErrFromFile] or [ErrOff] if commands may not change the ring.
func (k *Keys) Change(do func(Ring) (Ring, error)) (Ring, error) {
	switch {
	case k.FromFile():
		return nil, ErrFromFile
	case k.mode == Off:
		return nil, ErrOff
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	ring, err := do(k.ring)
	if err != nil {
		return nil, err
	}
	// The ring is stored even if nothing changes: the write of an earlier attempt at this step may
	// have failed.
	if err := k.cfg.Store.SetKeyring(encode(ring)); err != nil {
		return nil, fmt.Errorf("store the keyring: %w", err)
	}
	return ring, k.take(ring)
}

// take puts another ring in use. It needs k.mu.
func (k *Keys) take(ring Ring) error {
	before := k.ring
	k.ring = ring
	if k.apply == nil {
		return nil
	}
	if err := k.apply(ring); err != nil {
		return err
	}
	added, removed := difference(before, ring)
	if primary, ok := ring.Primary(); ok && (added+removed > 0 || before[0] != primary) {
		k.cfg.Log.Info("gossip keys changed", "primary", primary, "keys", len(ring), "added", added, "removed", removed)
	}
	return nil
}

// difference returns how many keys only the new ring has, and how many only the old one.
func difference(before, now Ring) (added, removed int) {
	for _, key := range now {
		if !before.Has(key.Fingerprint()) {
			added++
		}
	}
	return added, len(before) + added - len(now)
}

// Run looks at the keys file until ctx ends.
func (k *Keys) Run(ctx context.Context) {
	if !k.FromFile() {
		return
	}
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			_ = k.look(false) // it is logged
		case <-ctx.Done():
			return
		}
	}
}

// Reload reads the keys file at once. A bad file changes nothing.
func (k *Keys) Reload() error {
	if !k.FromFile() {
		return nil
	}
	return k.look(true)
}

// look reads the keys file and puts it in use if it has changed. The same error is logged and
// counted once, or each time if asked is set.
func (k *Keys) look(asked bool) error {
	data, err := readFile(k.cfg.File)
	k.mu.Lock()
	defer k.mu.Unlock()
	sum := sha256.Sum256(data)
	var ring Ring
	if err == nil {
		if sum == k.seen && k.trouble == "" && !asked {
			return nil
		}
		ring, err = ParseFile(data)
	}
	if err == nil {
		err = k.take(ring)
	}
	if err != nil {
		err = fmt.Errorf("%s %s: %w", fileSetting, k.cfg.File, err)
		if text := err.Error(); asked || text != k.trouble {
			k.trouble = text
			k.refused.Add(1)
			k.cfg.Log.Error("the gossip keys stay as they are: the file of keys cannot be used", "error", err)
		}
		return err
	}
	if k.trouble != "" {
		k.cfg.Log.Info("the file of gossip keys can be used again", "file", k.cfg.File)
	}
	k.seen, k.trouble = sum, ""
	k.reloaded.Add(1)
	return nil
}
