//go:build unix

package job

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/client"
	"github.com/sgkandale/sharelock/cmd/sharelock/internal/exit"
)

// heldKey is a Mesh that grants one lock, or none.
type heldKey struct {
	*fakeLock
	refuse, releasing error

	mu  sync.Mutex
	log []string
}

func (m *heldKey) note(what string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.log = append(m.log, what)
}

// did returns the calls to the mesh, in order.
func (m *heldKey) did() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return strings.Join(m.log, " ")
}

func (m *heldKey) Acquire(context.Context) (Lock, error) {
	m.note("acquire")
	if m.refuse != nil {
		return nil, m.refuse
	}
	return m, nil
}

func (m *heldKey) Hold() sharelock.Hold {
	return sharelock.Hold{Key: "k", Token: 7, ClientID: "me", TTL: time.Minute}
}

func (m *heldKey) Release(context.Context) error {
	m.note("release")
	return m.releasing
}

func (m *heldKey) Close() error {
	m.note("close")
	return nil
}

// run runs a command under the lock of m, as a process of its own if alone is set.
func run(t *testing.T, m *heldKey, alone bool, signals chan os.Signal, argv ...string) (out, stderr string, err error) {
	t.Helper()
	// A file, so that no goroutine is left that copies the output of a killed CMD.
	f, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var text strings.Builder
	c := Command{
		Key: "k", Argv: argv, Environ: os.Environ(), Stdout: f, Stderr: &text, Alone: alone,
		Notify: func(...os.Signal) (<-chan os.Signal, func()) { return signals, func() {} },
		Dial:   func(context.Context) (Mesh, error) { return m, nil },
	}
	err = c.Run(t.Context())
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	b, readErr := io.ReadAll(f)
	if readErr != nil {
		t.Fatal(readErr)
	}
	return string(b), text.String(), err
}

// codeOf returns the exit code of an error.
func codeOf(err error) int {
	if err == nil {
		return exit.OK
	}
	if e, ok := errors.AsType[*exit.Error](err); ok {
		return e.Code
	}
	return -1
}

// A command runs while the lock is held, and the process ends with its exit code. The same holds with a
// sentinel.
func TestRun(t *testing.T) {
	forced := &sharelock.Error{Err: sharelock.ErrNotHeld}
	for _, test := range []struct {
		name              string
		argv              []string
		refuse, releasing error
		code              int
		out, did, says    string
	}{
		{
			name: "done", argv: []string{"sh", "-c", `echo "$SHARELOCK_KEY $SHARELOCK_TOKEN $SHARELOCK_CLIENT_ID"`},
			out: "k 7 me\n", did: "acquire release close",
		},
		{name: "failed", argv: []string{"sh", "-c", "exit 9"}, code: 9, did: "acquire release close"},
		{name: "ended by a signal", argv: []string{"sh", "-c", "kill -KILL $$"}, code: exit.Signal + 9, did: "acquire release close"},
		{name: "not found", argv: []string{"no-such-command"}, code: exit.NotFound},
		{name: "not executable", argv: []string{"/dev/null"}, code: exit.CannotRun},
		{
			name: "held by others", argv: []string{"echo", "ran"}, refuse: &exit.Error{Code: exit.Failed},
			code: exit.Failed, did: "acquire close",
		},
		{
			name: "lost at the end", argv: []string{"true"}, releasing: forced,
			code: exit.Lost, did: "acquire release close",
		},
		{
			name: "not released", argv: []string{"true"}, releasing: client.ErrUnreachable,
			did: "acquire release close", says: "; the lock ends after its TTL\n",
		},
	} {
		for _, alone := range []bool{false, true} {
			name := test.name
			if alone {
				name += ", with a sentinel"
			}
			t.Run(name, func(t *testing.T) {
				m := &heldKey{fakeLock: newLock(time.Minute), refuse: test.refuse, releasing: test.releasing}
				out, stderr, err := run(t, m, alone, nil, test.argv...)
				if codeOf(err) != test.code || out != test.out || m.did() != test.did {
					t.Errorf("got code %d (%v), output %q, calls %q; want %d, %q, %q", codeOf(err), err, out, m.did(), test.code, test.out, test.did)
				}
				if !strings.HasSuffix(stderr, test.says) || (test.says == "") != (stderr == "") {
					t.Errorf("got stderr %q, want %q", stderr, test.says)
				}
			})
		}
	}
}

// A command whose lock is taken by force is ended, together with its children. The lock is released
// nevertheless.
func TestRunLost(t *testing.T) {
	for _, alone := range []bool{false, true} {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		m := &heldKey{fakeLock: newLock(time.Minute)}
		c := Command{
			Key: "k", Argv: []string{"sh", "-c", "echo up; exec sleep 100"}, Environ: os.Environ(), Stdout: w, Alone: alone,
			Notify: func(...os.Signal) (<-chan os.Signal, func()) { return nil, func() {} },
			Dial:   func(context.Context) (Mesh, error) { return m, nil },
		}
		ended := make(chan error, 1)
		go func() { ended <- c.Run(t.Context()) }()
		if up, err := bufio.NewReader(r).ReadString('\n'); up != "up\n" {
			t.Fatalf("CMD says %q, %v", up, err)
		}
		m.lose(client.ErrForced)
		if err := <-ended; codeOf(err) != exit.Lost || m.did() != "acquire release close" {
			t.Errorf("alone %v: got code %d (%v), calls %q", alone, codeOf(err), err, m.did())
		}
		// CMD had the only other copy.
		_ = w.Close()
		if rest, err := io.ReadAll(r); len(rest) > 0 || err != nil {
			t.Errorf("got %q, %v after the end of CMD", rest, err)
		}
		_ = r.Close()
	}
}

// A signal ends the wait for the lock.
func TestRunInterrupted(t *testing.T) {
	signals := make(chan os.Signal, 1)
	signals <- syscall.SIGTERM
	c := Command{
		Argv:   []string{"true"},
		Notify: func(...os.Signal) (<-chan os.Signal, func()) { return signals, func() {} },
		Dial: func(ctx context.Context) (Mesh, error) {
			<-ctx.Done()
			return nil, exit.OfCall(context.Cause(ctx))
		},
	}
	e, ok := errors.AsType[*exit.Error](c.Run(t.Context()))
	if !ok || e.By != syscall.SIGTERM || e.Code != exit.Signal+int(syscall.SIGTERM) {
		t.Errorf("got %+v", e)
	}
}
