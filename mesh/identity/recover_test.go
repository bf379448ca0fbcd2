package identity

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/sgkandale/sharelock/ring"
)

// A recovery is made or not made, whenever the process dies.
func TestRecoveryAfterACrash(t *testing.T) {
	oldID, newID := []byte("old"), []byte("new")
	for name, test := range map[string]struct {
		dies func(t *testing.T, d *Dir)
		done bool
	}{
		"before the promise": {func(*testing.T, *Dir) {}, false},
		"after the promise":  {func(t *testing.T, d *Dir) { mustDo(t, d.SetPromise(newID, ring.Identity{})) }, true},
		"after a rename": {func(t *testing.T, d *Dir) {
			mustDo(t, d.SetPromise(newID, ring.Identity{}))
			mustDo(t, os.Rename(d.RaftDir(), d.file("raft-before-6e6577")))
		}, true},
		"after all": {func(t *testing.T, d *Dir) { mustDo(t, d.TakeRecovered(newID)) }, true},
	} {
		t.Run(name, func(t *testing.T) {
			d := mustOpenDir(t, filepath.Join(t.TempDir(), "data"))
			mustDo(t, d.SetPromise(oldID, ring.Identity{}))
			mustDo(t, os.Mkdir(d.RecoveredDir(newID), 0o700))
			for dir, text := range map[string]string{d.RaftDir(): "old", d.RecoveredDir(newID): "new"} {
				mustDo(t, os.WriteFile(filepath.Join(dir, "which"), []byte(text), 0o600))
			}
			test.dies(t, d)
			d = reopen(t, reopen(t, d))
			want := map[bool]string{false: "old", true: "new"}[test.done]
			if id, _, _ := d.Promise(); string(id) != want {
				t.Errorf("it follows %q, want %q", id, want)
			}
			if got, err := os.ReadFile(filepath.Join(d.RaftDir(), "which")); string(got) != want {
				t.Errorf("raft's files are the %q, %v, want %q", got, err, want)
			}
			if _, err := os.Stat(d.RecoveredDir(newID)); err == nil {
				t.Error("the new files are still beside the old")
			}
			kept, err := os.ReadFile(filepath.Join(d.file("raft-before-6e6577"), "which"))
			if test.done != (err == nil && string(kept) == "old") {
				t.Errorf("the old files are kept: %q, %v", kept, err)
			}
		})
	}
}

func mustDo(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
