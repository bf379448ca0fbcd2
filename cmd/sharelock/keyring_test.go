package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sgkandale/sharelock/cmd/sharelock/internal/exit"
	"github.com/sgkandale/sharelock/mesh/keyring"
)

// The commands that change keys send their arguments, and print no key.
func TestKeyringChanges(t *testing.T) {
	k := keyring.Generate()
	f := k.Fingerprint().String()
	for _, test := range []struct {
		args  []string
		stdin string
		code  int
		want  string
	}{
		{[]string{"install", k.Text()}, "", exit.OK, `keyring KEYRING_ACTION_INSTALL "` + k.Text() + `" false`},
		{[]string{"install", "-"}, k.Text() + "\n", exit.OK, `keyring KEYRING_ACTION_INSTALL "` + k.Text() + `" false`},
		{[]string{"install", "-"}, k.Text(), exit.OK, `keyring KEYRING_ACTION_INSTALL "` + k.Text() + `" false`},
		{[]string{"install", "-"}, "", exit.Usage, ""},
		{[]string{"install", f}, "", exit.Usage, ""},
		{[]string{"install"}, "", exit.Usage, ""},
		{[]string{"use", f}, "", exit.OK, `keyring KEYRING_ACTION_USE "` + f + `" false`},
		{[]string{"use", k.Text(), "--without-absent"}, "", exit.OK, `keyring KEYRING_ACTION_USE "` + f + `" true`},
		{[]string{"use", "x"}, "", exit.Usage, ""},
		{[]string{"remove", f}, "", exit.OK, `keyring KEYRING_ACTION_REMOVE "` + f + `" false`},
		{[]string{"rotate", "--without-absent"}, "", exit.OK, `keyring KEYRING_ACTION_ROTATE "" true`},
		{[]string{"rotate"}, "", exit.Failed, `keyring KEYRING_ACTION_ROTATE "" false`},
	} {
		t.Run(strings.Join(test.args, " "), func(t *testing.T) {
			m := startMesh(t)
			a := remoteApp(m)
			a.stdin = strings.NewReader(test.stdin)
			a.command(t, test.code, append([]string{"keyring"}, test.args...)...)
			if got := strings.Join(m.calls(), "; "); got != test.want {
				t.Errorf("got calls %q, want %q", got, test.want)
			}
			if out := a.out.String() + a.err.String(); strings.Contains(out, k.Text()) {
				t.Errorf("the key is printed:\n%s", out)
			}
			switch test.code {
			case exit.OK:
				if !strings.Contains(a.out.String(), "8ecae77e1eea4271  [2/4]") {
					t.Errorf("got\n%s", a.out)
				}
			case exit.Failed:
				if got := a.err.String(); got != "sharelock: not confirmed by all members: use: c\n" {
					t.Errorf("got stderr %q", got)
				}
			default:
				oneLineOf(t, a)
			}
		})
	}
}

// A new node is given the mesh's key before its first start, without a mesh.
func TestKeyringInstallInDirectory(t *testing.T) {
	a := newApp()
	a.command(t, exit.OK, "keyring", "generate")
	text := strings.TrimSpace(a.out.String())
	k, err := keyring.ParseKey(text)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "data")
	a = newApp()
	a.stdin = strings.NewReader(text)
	a.command(t, exit.OK, "keyring", "install", "-", "--data-dir", dir)
	if got := a.out.String(); !strings.Contains(got, k.Fingerprint().String()) || strings.Contains(got, text) {
		t.Errorf("got %q", got)
	}
	data, err := os.ReadFile(filepath.Join(dir, "keyring.json"))
	if err != nil || !strings.Contains(string(data), text) {
		t.Errorf("the file is %q, %v", data, err)
	}
	a = newApp()
	a.command(t, exit.Failed, "keyring", "install", text, "--data-dir", "")
	oneLineOf(t, a)
}
