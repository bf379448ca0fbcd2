package identity

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sgkandale/sharelock/internal/release"
	"github.com/sgkandale/sharelock/internal/rules"
	"github.com/sgkandale/sharelock/ring"
)

func mustOpenDir(t *testing.T, path string) *Dir {
	t.Helper()
	d, err := Open(path, release.Own())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

func reopen(t *testing.T, d *Dir) *Dir {
	t.Helper()
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	return mustOpenDir(t, d.path)
}

func TestDataDirIdentity(t *testing.T) {
	path := filepath.Join(t.TempDir(), "deep", "data")
	d := mustOpenDir(t, path)
	first := d.Identity()
	if len(first.ID) != 16 || first.Counter != 1 || first.Nonce == 0 {
		t.Errorf("first start is %+v, want 16 characters and counter 1", first)
	}
	if _, err := hex.DecodeString(first.ID); err != nil {
		t.Errorf("id %q: %v", first.ID, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("directory: %v, %v, want mode 0700", info.Mode(), err)
	}
	if info, err := os.Stat(d.RaftDir()); err != nil || !info.IsDir() {
		t.Errorf("raft's directory %q: %v", d.RaftDir(), err)
	}
	second := reopen(t, d).Identity()
	if second.ID != first.ID || second.Counter != 2 || second.Nonce == first.Nonce {
		t.Errorf("second start is %v after %v", second, first)
	}
}

func TestDataDirPromise(t *testing.T) {
	for _, path := range []string{"", t.TempDir()} {
		d := mustOpenDir(t, path)
		if id, founder, ok := d.Promise(); ok {
			t.Fatalf("a new directory has promised %x to %v", id, founder)
		}
		clusterID, founder := []byte("cluster-id"), ring.Identity{ID: "some\nid", Counter: 3, Nonce: 1 << 63}
		if err := d.SetPromise(clusterID, founder); err != nil {
			t.Fatal(err)
		}
		clusterID[0] = 'X' // the directory must not keep the slice
		if path != "" {
			d = reopen(t, d)
		}
		id, got, ok := d.Promise()
		if string(id) != "cluster-id" || got != founder || !ok {
			t.Errorf("promise is %q, %v, %t", id, got, ok)
		}
		// A process that joined does not know the founder.
		if err := d.SetPromise([]byte("other"), ring.Identity{}); err != nil {
			t.Fatal(err)
		}
		if id, got, ok := d.Promise(); string(id) != "other" || got != (ring.Identity{}) || !ok {
			t.Errorf("second promise is %q, %v, %t", id, got, ok)
		}
		for _, bad := range [][]byte{nil, make([]byte, rules.MaxClusterID+1)} {
			if err := d.SetPromise(bad, founder); err == nil {
				t.Errorf("a promise to a cluster id of %d bytes has no error", len(bad))
			}
		}
		_ = d.Close()
		if err := d.SetPromise([]byte("late"), founder); !errors.Is(err, fs.ErrClosed) {
			t.Errorf("SetPromise after Close: %v, want %v", err, fs.ErrClosed)
		}
	}
}

func TestDataDirInMemory(t *testing.T) {
	a, b := mustOpenDir(t, ""), mustOpenDir(t, "")
	if a.Identity().ID == b.Identity().ID || a.Identity().Counter != 1 || a.RaftDir() != "" {
		t.Errorf("in memory: %v and %v, raft in %q", a.Identity(), b.Identity(), a.RaftDir())
	}
}

func TestDataDirInUse(t *testing.T) {
	path := t.TempDir()
	d := mustOpenDir(t, path)
	_, err := Open(path, release.Own())
	if !errors.Is(err, errInUse) || !strings.Contains(err.Error(), path) {
		t.Errorf("second open: %v, want %v with the path", err, errInUse)
	}
	if got := reopen(t, d).Identity().Counter; got != 2 {
		t.Errorf("counter is %d after a start that was refused, want 2", got)
	}
}

// TestDataDirTwoProcesses: the lock holds between processes, and ends with one
// that is killed.
func TestDataDirTwoProcesses(t *testing.T) {
	const variable = "SHARELOCK_TEST_DATADIR"
	if path := os.Getenv(variable); path != "" {
		if _, err := Open(path, release.Own()); err != nil {
			_, _ = os.Stdout.WriteString("refused: " + err.Error() + "\n")
		} else {
			_, _ = os.Stdout.WriteString("open\n")
		}
		_, _ = os.Stdin.Read(make([]byte, 1)) // until killed
		return
	}
	path := t.TempDir()
	child := func() (*exec.Cmd, string) {
		cmd := exec.Command(os.Args[0], "-test.run=^TestDataDirTwoProcesses$")
		cmd.Env = append(os.Environ(), variable+"="+path)
		if _, err := cmd.StdinPipe(); err != nil {
			t.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		line := make([]byte, 200)
		n, _ := out.Read(line)
		return cmd, string(line[:n])
	}
	kill := func(cmd *exec.Cmd) {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	first, said := child()
	if said != "open\n" {
		kill(first)
		t.Fatalf("first process: %q", said)
	}
	second, said := child()
	kill(second)
	if !strings.HasPrefix(said, "refused: data directory "+path) {
		t.Errorf("second process: %q, want a refusal that names the directory", said)
	}
	kill(first)
	if got := mustOpenDir(t, path).Identity().Counter; got != 2 {
		t.Errorf("counter is %d after the first process was killed, want 2", got)
	}
}

// TestDataDirCrash: a crash leaves a temporary file behind, whole or in part.
func TestDataDirCrash(t *testing.T) {
	d := mustOpenDir(t, t.TempDir())
	if err := d.SetPromise([]byte("c"), ring.Identity{ID: "f"}); err != nil {
		t.Fatal(err)
	}
	for _, left := range [][]byte{nil, []byte("sharelock iden"), encodeIdentity(ring.Identity{ID: strings.Repeat("ab", 8), Counter: 99})} {
		before := d.Identity()
		_ = d.Close()
		for _, name := range []string{identityFile, promiseFile} {
			if err := os.WriteFile(d.file(name)+".tmp", left, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		d = mustOpenDir(t, d.path)
		if got := d.Identity(); got.ID != before.ID || got.Counter != before.Counter+1 {
			t.Errorf("with %q left over: %v after %v", left, got, before)
		}
		if id, _, ok := d.Promise(); string(id) != "c" || !ok {
			t.Errorf("with %q left over: promise is %q, %t", left, id, ok)
		}
	}
}

// TestDataDirDamaged: a file that was changed is an error, not a new id, and the
// error leaves the directory free and everything as it was.
func TestDataDirDamaged(t *testing.T) {
	for _, name := range []string{identityFile, promiseFile} {
		d := mustOpenDir(t, t.TempDir())
		if err := d.SetPromise([]byte("c"), ring.Identity{ID: "f"}); err != nil {
			t.Fatal(err)
		}
		_ = d.Close()
		whole, err := os.ReadFile(d.file(name))
		if err != nil {
			t.Fatal(err)
		}
		for label, data := range map[string][]byte{
			"empty": {}, "half": whole[:len(whole)/2], "more": append(bytes.Clone(whole), '\n'),
			"a digit": bytes.Replace(whole, []byte("counter "), []byte("counter 1"), 1),
			"huge":    bytes.Repeat([]byte("x"), 1<<20),
		} {
			if err := os.WriteFile(d.file(name), data, 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := Open(d.path, release.Own()); !errors.Is(err, errDamaged) || !strings.Contains(err.Error(), name) {
				t.Errorf("%s, %s: %v, want %v with the name", name, label, err, errDamaged)
			}
		}
		if err := os.WriteFile(d.file(name), whole, 0o600); err != nil {
			t.Fatal(err)
		}
		if got := mustOpenDir(t, d.path).Identity(); got.ID != d.Identity().ID || got.Counter != 2 {
			t.Errorf("%s restored: %v after %v", name, got, d.Identity())
		}
	}
}

// TestDataDirIdentityGone: without its identity a used directory is not empty.
func TestDataDirIdentityGone(t *testing.T) {
	d := mustOpenDir(t, t.TempDir())
	_ = d.Close()
	if err := os.Remove(d.file(identityFile)); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(d.path, release.Own()); !errors.Is(err, errDamaged) {
		t.Errorf("open: %v, want %v", err, errDamaged)
	}
}

func TestDataDirNotADirectory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path, release.Own()); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("open: %v, want an error with the path", err)
	}
}
