package identity

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/sgkandale/sharelock/internal/release"
)

// The keyring is kept for the owner's eyes, across starts, and can be put there before the first.
func TestKeyring(t *testing.T) {
	path := filepath.Join(t.TempDir(), "data")
	set := func(want, to string) error {
		return ChangeKeyring(path, func(old []byte) ([]byte, error) {
			if string(old) != want {
				t.Errorf("the keyring was %q, want %q", old, want)
			}
			return []byte(to), nil
		})
	}
	if err := set("", "one"); err != nil {
		t.Fatal(err)
	}
	if err := set("one", "two"); err != nil {
		t.Fatal(err)
	}
	d, err := Open(path, release.Own())
	if err != nil {
		t.Fatal(err)
	}
	if got, err := d.Keyring(); string(got) != "two" || err != nil {
		t.Errorf("the keyring is %q, %v", got, err)
	}
	if err := set("", "three"); !errors.Is(err, errInUse) {
		t.Errorf("change of a directory in use: %v", err)
	}
	if err := d.SetKeyring([]byte("three")); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(filepath.Join(path, keyringFile)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file is %v, %v, want the mode 0600", info, err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if err := d.SetKeyring([]byte("four")); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("change of a closed directory: %v", err)
	}
	if err := set("three", "four"); err != nil {
		t.Fatal(err)
	}
	boom := errors.New("boom")
	if err := ChangeKeyring(path, func([]byte) ([]byte, error) { return nil, boom }); !errors.Is(err, boom) {
		t.Errorf("a change that fails: %v", err)
	}
	if err := set("four", "five"); err != nil {
		t.Fatal(err)
	}
}

// In memory it lives as long as the process.
func TestKeyringInMemory(t *testing.T) {
	d, err := Open("", release.Own())
	if err != nil {
		t.Fatal(err)
	}
	data := []byte("one")
	if err := d.SetKeyring(data); err != nil {
		t.Fatal(err)
	}
	data[0] = 'X'
	if got, err := d.Keyring(); string(got) != "one" || err != nil {
		t.Errorf("the keyring is %q, %v", got, err)
	}
}
