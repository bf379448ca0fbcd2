//go:build linux

package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sgkandale/sharelock/cmd/sharelock/internal/exit"
)

// Every call is made with sharelock flock and with flock(1): exit codes and output are the same.
func TestFlockBesideFlock(t *testing.T) {
	flock, err := exec.LookPath("flock")
	if err != nil {
		t.Skip("no flock(1) here")
	}
	dir := t.TempDir()
	script := filepath.Join(dir, "script")
	if err := os.WriteFile(script, []byte("echo script $1\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, call := range []string{
		"FILE echo a",
		"FILE echo -n -- x",
		"FILE -c 'echo $((1 + 1))'",
		"FILE --command 'exit 5'",
		"FILE -c",
		"FILE -c 'echo a' b",
		"FILE -- echo x",
		"-- FILE echo x",
		"-x FILE echo x",
		"-e FILE echo x",
		"-s FILE echo s",
		"-sx FILE echo x",
		"-n FILE echo n",
		"-xn FILE echo n",
		"-w 0.5 FILE echo w",
		"-w0.5 FILE echo w",
		"-nw1 FILE echo w",
		"-w 0 FILE echo w",
		"--wait 2 FILE echo w",
		"--timeout=2 FILE echo w",
		"--tim 2 FILE echo w",
		"--nonblock FILE echo n",
		"--nb FILE echo n",
		"--non FILE echo n",
		"--no FILE echo n",
		"--sh FILE echo s",
		"-E 42 -n FILE echo e",
		"-E42 -n FILE echo e",
		"-E 0 -n FILE echo e",
		"--conflict-exit-code=7 -w 0 FILE echo e",
		"-o FILE echo o",
		"-F FILE echo f",
		"-Fo FILE echo f",
		"--close --no-fork FILE echo f",
		"--verbose FILE true",
		"FILE -n true",
		"FILE sh -c 'exit 9'",
		"FILE sh -c 'kill -TERM $$'",
		"FILE sh -c 'kill -KILL $$'",
		"FILE SCRIPT x",
		"FILE no-such-command",
		"FILE /no/such/command",
		"FILE /etc/passwd",
		"-E 256 FILE true",
		"-E x FILE true",
		"-E",
		"-w",
		"-w x FILE true",
		"--wait",
		"--shared=1 FILE true",
		"-z FILE true",
		"--nonsense FILE true",
		"",
		"FILE",
		"-s",
		"--help",
		"-h",
		"-V",
		"--version",
	} {
		for _, held := range []bool{false, true} {
			name := call
			if held {
				name += " (held)"
				// Only calls that do not wait for ever.
				if !strings.Contains(call, "-n") && !strings.Contains(call, "-w") || strings.Contains(call, "FILE -n") || strings.Contains(call, "-- x") {
					continue
				}
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				sharelockOptions, theirs := sharelockContender(t), flockContender(t)
				if held {
					sharelockOptions.take(t)
					theirs.take(t)
				}
				run := func(c *contender, program string) (string, string, int) {
					script := program + " " + strings.NewReplacer("FILE", "$F", "SCRIPT", script).Replace(call)
					cmd := exec.Command("sh", "-c", script)
					cmd.Env = append(c.env, "F="+map[bool]string{true: "k", false: theirs.words[1]}[c.mesh != nil], "SHELL=/bin/sh")
					var out, stderr bytes.Buffer
					cmd.Stdout, cmd.Stderr = &out, &stderr
					if err := cmd.Run(); err != nil && !isExit(err) {
						t.Fatal(err)
					}
					return out.String(), stderr.String(), cmd.ProcessState.ExitCode()
				}
				got, gotErr, code := run(sharelockOptions, sharelockOptions.words[0]+" flock")
				want, wantErr, wantCode := run(theirs, flock)
				if code != wantCode {
					t.Errorf("got exit code %d (%s), flock has %d (%s)", code, gotErr, wantCode, wantErr)
				}
				if (gotErr == "") != (wantErr == "") {
					t.Errorf("got stderr %q, flock has %q", gotErr, wantErr)
				}
				if !strings.Contains(want, "util-linux") && !strings.Contains(want, "flock:") && !strings.Contains(want, "Usage") && got != want {
					t.Errorf("got %q, flock has %q", got, want)
				}
				if strings.Contains(call, "--verbose") && strings.Count(got, "flock: ") != 2 {
					t.Errorf("got %q", got)
				}
			})
		}
	}
}

func isExit(err error) bool {
	_, ok := errors.AsType[*exec.ExitError](err)
	return ok
}

// What flock(1) supports and the mesh does not is refused with an error.
func TestFlockRefused(t *testing.T) {
	for _, test := range []struct {
		args []string
		says string
	}{
		{[]string{"9"}, "open file"},
		{[]string{"-u", "9"}, "open file"},
		{[]string{"-u", "k", "true"}, "--unlock"},
		{[]string{"-w", "-1", "k", "true"}, "timeout"},
		{[]string{"--ttl", "1ms", "k", "true"}, "--ttl"},
		{[]string{"--server", "nowhere", "k", "true"}, "--server"},
		{[]string{"", "true"}, "key"},
	} {
		a := newApp()
		a.command(t, exit.Usage, append([]string{"flock"}, test.args...)...)
		if line := oneLineOf(t, a); !strings.Contains(line, test.says) {
			t.Errorf("%q: got %q, want %q in it", test.args, line, test.says)
		}
	}
}

func TestFlockAcquires(t *testing.T) {
	t.Parallel() // the last command waits for a mesh that cannot serve
	m := startMesh(t)
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"/var/lock/x", "true"}, "acquire /var/lock/x by w ttl 0s wait 10m0s EXCLUSIVE slots 0 metadata map[]"},
		{[]string{"-s", "-w", "2.4", "k", "true"}, "acquire k by w ttl 0s wait 2s SHARED slots 0 metadata map[]"},
		{[]string{"-n", "--ttl", "20s", "k", "true"}, "acquire k by w ttl 20s wait 0s EXCLUSIVE slots 0 metadata map[]"},
	} {
		a := remoteApp(m)
		a.command(t, exit.OK, slices.Concat([]string{"flock", "--client-id", "w"}, test.args)...)
		if got := m.calls(); !slices.Contains(got, test.want) {
			t.Errorf("got %q, want %q", got, test.want)
		}
	}
	// Verbose says why it failed.
	m.take("k", "somebody")
	a := remoteApp(m)
	a.command(t, exit.Failed, "flock", "-n", "--verbose", "k", "true")
	if line := oneLineOf(t, a); !strings.Contains(line, "by somebody") {
		t.Errorf("got %q", line)
	}
	a = remoteApp(m)
	a.command(t, exit.Failed, "flock", "-n", "k", "true")
	if a.err.String() != "" {
		t.Errorf("got stderr %q", a.err)
	}
	m.setCut()
	a = remoteApp(m)
	a.command(t, exit.Unreachable, "flock", "-n", "-E", "0", "--client-id", "w", "k", "true")
	oneLineOf(t, a)
}

// The wait of flock(1) is unlimited, that of the mesh is limited. So the lock is requested again.
func TestFlockWaits(t *testing.T) {
	m := startMesh(t)
	m.take("k", "somebody")
	m.setMaxWait(300 * time.Second)
	a := remoteApp(m)
	code := a.background("flock", "--client-id", "w", "k", "echo", "ran")
	m.await(t, 2)
	m.awaitWaiter(t) // a call is seen before it waits
	m.endWaits()
	m.await(t, 3)
	m.free("k")
	if got := exitCode(t, code); got != exit.OK || a.out.String() != "ran\n" {
		t.Errorf("got exit code %d, output %q, stderr %q", got, a.out, a.err)
	}
	want := []string{"10m0s", "5m0s", "5m0s"}
	var got []string
	for _, call := range m.calls() {
		if f := strings.Fields(call); f[0] == "acquire" {
			got = append(got, f[7])
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("got waits %q, want %q", got, want)
	}
}

// Called as flock, the program is flock.
func TestFlockByName(t *testing.T) {
	c := sharelockContender(t)
	link := filepath.Join(t.TempDir(), "flock")
	if err := unix.Symlink(c.words[0], link); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(link, "-n", "k", "-c", "echo $SHARELOCK_KEY")
	cmd.Env = c.env
	out, err := cmd.Output()
	if err != nil || string(out) != "k\n" {
		t.Errorf("got %q, %v", out, err)
	}
}
