package certs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// caName is the name of the authority's pair in a folder.
const caName = "ca"

// CertFile returns where the certificate of a pair is in a folder.
func CertFile(dir, name string) string { return filepath.Join(dir, name+".pem") }

// KeyFile returns where the key of a pair is in a folder.
func KeyFile(dir, name string) string { return filepath.Join(dir, name+"-key.pem") }

// WriteCA writes the authority to ca.pem and ca-key.pem in a folder, as [Pair.Write] does.
func (ca *CA) WriteCA(dir string) error { return ca.pair.Write(dir, caName) }

// ReadCA reads the authority from ca.pem and ca-key.pem in a folder.
func ReadCA(dir string) (*CA, error) {
	cert, err := os.ReadFile(CertFile(dir, caName))
	if err != nil {
		return nil, err
	}
	key, err := os.ReadFile(KeyFile(dir, caName))
	if err != nil {
		return nil, err
	}
	ca, err := ParseCA(Pair{Cert: cert, Key: key})
	if err != nil {
		return nil, fmt.Errorf("%s, %s: %w", CertFile(dir, caName), KeyFile(dir, caName), err)
	}
	return ca, nil
}

// Write writes the pair to NAME.pem and NAME-key.pem in a folder. Only its owner can read the key.
// Each file appears complete or not at all, and files that exist are not changed: that is an error
// that is [fs.ErrExist].
func (p Pair) Write(dir, name string) error {
	cert, key := CertFile(dir, name), KeyFile(dir, name)
	if _, err := os.Lstat(cert); err == nil { // before the key is written
		return exists(cert)
	}
	if err := writeNew(key, p.Key, 0o600); err != nil {
		return err
	}
	if err := writeNew(cert, p.Cert, 0o644); err != nil {
		return errors.Join(err, os.Remove(key)) // nobody has used it: it is not complete without its certificate
	}
	return nil
}

// writeNew makes a file that does not exist yet. It writes to a temporary file and links it to its
// name, because a link fails if the name is taken, and a rename does not.
func writeNew(path string, data []byte, mode fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".sharelock-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }()
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.Link(f.Name(), path); errors.Is(err, fs.ErrExist) {
		return exists(path)
	} else if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

func exists(path string) error {
	return fmt.Errorf("%s exists and is not overwritten: %w", path, fs.ErrExist)
}
