package identity

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sgkandale/sharelock/internal/release"
)

// A data directory of a later release is refused, is not called damaged, and is not
// changed.
func TestDataDirOfALaterRelease(t *testing.T) {
	path := t.TempDir()
	d := mustOpenDir(t, path)
	if err := d.RaiseRelease(release.Current + 1); err != nil {
		t.Fatal(err)
	}
	if err := d.RaiseRelease(release.Current); err != nil { // it never falls
		t.Fatal(err)
	}
	_ = d.Close()
	before := filesOf(t, path)
	_, err := Open(path, release.Own())
	if !errors.Is(err, release.ErrNewer) || errors.Is(err, errDamaged) || strings.Contains(err.Error(), "damaged") {
		t.Errorf("opened: %v", err)
	}
	if want := release.Newer(release.Current + 1).Error(); err != nil && !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want %q in it", err, want)
	}
	if after := filesOf(t, path); after != before {
		t.Errorf("the directory has changed from\n%s\nto\n%s", before, after)
	}
}

// So is one whose records have a later form.
func TestRecordOfALaterRelease(t *testing.T) {
	for _, name := range []string{releaseFile, identityFile} {
		path := t.TempDir()
		_ = mustOpenDir(t, path).Close()
		file := filepath.Join(path, name)
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		body := bytes.Replace(data[:bytes.LastIndex(data, []byte("crc32c "))], []byte(name+" 1\n"), []byte(name+" 7\nmore of it\n"), 1)
		data = append(body, []byte("crc32c "+fmt.Sprintf("%08x", crc32c(body))+"\n")...)
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(path, release.Own()); !errors.Is(err, release.ErrNewer) || errors.Is(err, errDamaged) {
			t.Errorf("%s: opened: %v", name, err)
		}
	}
}

// A directory from before release 1 has no record of a release.
func TestDataDirFromBeforeReleases(t *testing.T) {
	path := t.TempDir()
	_ = mustOpenDir(t, path).Close()
	if err := os.Remove(filepath.Join(path, releaseFile)); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path, release.Own()); !errors.Is(err, release.ErrOlder) || !strings.Contains(err.Error(), "docs/upgrade.md") {
		t.Errorf("opened: %v", err)
	}
}

// filesOf is what is in a directory.
func filesOf(t *testing.T, path string) string {
	t.Helper()
	var all strings.Builder
	list, err := os.ReadDir(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		if e.IsDir() {
			continue
		}
		data, err := os.ReadFile(filepath.Join(path, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		all.WriteString(e.Name() + ":\n" + string(data))
	}
	return all.String()
}
