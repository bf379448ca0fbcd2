package identity

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// keyringFile keeps the gossip keys, in the form of package keyring.
const keyringFile = "keyring.json"

// keyringMaxBytes is the largest size of keyringFile.
const keyringMaxBytes = 64 << 10

// Keyring returns the content of the keyring file, empty if there is none.
func (d *Dir) Keyring() ([]byte, error) {
	if d.path == "" {
		d.mu.Lock()
		defer d.mu.Unlock()
		return d.keyring, nil
	}
	return readKeyring(d.file(keyringFile))
}

// SetKeyring replaces the keyring file, synced and readable by its owner only.
func (d *Dir) SetKeyring(data []byte) error {
	d.writing.Lock()
	defer d.writing.Unlock()
	d.mu.Lock()
	closed := d.closed
	if d.path == "" {
		d.keyring = append([]byte(nil), data...)
	}
	d.mu.Unlock()
	switch {
	case closed:
		return fmt.Errorf("data directory: %w", fs.ErrClosed)
	case d.path == "":
		return nil
	}
	return writeSynced(d.file(keyringFile), data)
}

func readKeyring(path string) ([]byte, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil && len(data) > keyringMaxBytes {
		return nil, fmt.Errorf("%w: it has %d bytes", errDamaged, len(data))
	}
	return data, err
}

// ChangeKeyring replaces the keyring file of a data directory that no process works in: change
// returns the new content of the old one, which is empty if there is none. The directory is made
// if it is not there.
func ChangeKeyring(path string, change func(old []byte) ([]byte, error)) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("data directory %s: %w", path, err)
		}
	}()
	if path, err = filepath.Abs(path); err != nil {
		return err
	}
	if err := makeDir(path); err != nil {
		return err
	}
	lock, err := lockExclusive(filepath.Join(path, lockFile))
	if err != nil {
		return err
	}
	defer lock.Close() //nolint:errcheck // nothing was written to it
	file := filepath.Join(path, keyringFile)
	old, err := readKeyring(file)
	if err != nil {
		return err
	}
	data, err := change(old)
	if err != nil {
		return err
	}
	return writeSynced(file, data)
}
