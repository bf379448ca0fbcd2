//go:build linux

package main

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
)

// unready returns what /readyz says, "" if the node does not answer or is ready.
func (p *proc) unready() string {
	resp, err := http.Get("http://" + p.host + ":50051/readyz") //nolint:noctx // bounded by the caller's patience
	if err != nil {
		return ""
	}
	defer resp.Body.Close() //nolint:errcheck // it was read
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode == http.StatusOK {
		return ""
	}
	return string(body)
}

// refused starts a node that must end at once, with exit code 1 and these words.
func (r *rehearsal) refused(i int, words string, args ...string) {
	r.t.Helper()
	p := r.procs[i]
	running := p.cmd
	ended := p.ended
	p.args = args
	r.start(i)
	p.args = nil
	select {
	case <-p.ended:
	case <-time.After(20 * time.Second):
		r.t.Fatalf("%s %q does not end, want %q", p.name, args, words)
	}
	if code := p.cmd.ProcessState.ExitCode(); code != 1 {
		r.t.Errorf("%s %q: exit code %d, want 1", p.name, args, code)
	}
	lines := strings.Split(strings.TrimSpace(p.log.String()), "\n")
	if last := lines[len(lines)-1]; !strings.Contains(last, words) {
		r.t.Errorf("%s %q ends with %q, want %q", p.name, args, last, words)
	}
	p.cmd, p.ended = running, ended
}

func (r *rehearsal) data(p *proc) string { return filepath.Join(r.dir, p.name) }

// The directories of a majority are lost, and the mesh is recovered from the remaining one.
func TestRecovery(t *testing.T) {
	r := newRehearsal(t, 3, "  lease: 1s\nlocks:\n  max_ttl: 3s\n  default_ttl: 3s\n")
	r.form(3)
	a, b, c := r.procs[0], r.procs[1], r.procs[2]
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cl := r.client(a)
	before, err := cl.Acquire(ctx, "k")
	if err != nil {
		t.Fatal(err)
	}
	old := before.Token()
	for _, p := range r.procs {
		r.kill(p)
	}
	if err := errors.Join(cl.Close(), os.Rename(r.data(b), r.data(b)+".kept"), os.RemoveAll(r.data(c))); err != nil {
		t.Fatal(err)
	}

	// Alone it cannot serve, and says what can be done.
	r.again(a)
	r.await("a names --recover", 30*time.Second, func() bool { return strings.Contains(a.unready(), "--recover") })
	r.refused(0, "in use by another process", "--recover")
	r.kill(a)

	// No recovery while a seed answers, here one that has lost its directory, or together with --found.
	r.again(c)
	r.await("c answers", 20*time.Second, func() bool { return c.unready() != "" })
	r.refused(0, "at "+c.host+":", "--recover")
	r.kill(c)
	r.refused(0, "not together with --found", "--recover", "--found")
	r.refused(0, "needs the data directory", "--recover", "--data-dir=")
	r.refused(2, "belongs to no mesh", "--recover")

	a.args = []string{"--recover"}
	r.again(a)
	a.args = nil
	r.await("a serves", 30*time.Second, a.ready)
	if !strings.Contains(a.log.String(), "RECOVERED") {
		t.Error("the log does not say what a recovery means")
	}
	r.recoveredServes(ctx, a, old)

	// The old directory of another member is refused; with an empty one it joins.
	if err := errors.Join(os.RemoveAll(r.data(b)), os.Rename(r.data(b)+".kept", r.data(b))); err != nil {
		t.Fatal(err)
	}
	r.refused(1, "empty it and start again to join as a new member")
	if err := errors.Join(os.RemoveAll(r.data(b)), os.RemoveAll(r.data(c))); err != nil {
		t.Fatal(err)
	}
	r.again(b, c)
	r.await("three are one mesh", 30*time.Second, func() bool { return r.whole(a, b, c) })
	r.kill(a)
	r.refused(0, "other nodes answer", "--recover")
	r.again(a)
	r.await("a is back", 30*time.Second, func() bool { return r.whole(a, b, c) })
}

// recoveredServes: the lock from before is lost, and its key is granted after the quarantine, with a larger
// token.
func (r *rehearsal) recoveredServes(ctx context.Context, a *proc, old sharelock.Token) {
	r.t.Helper()
	cl := r.client(a)
	defer cl.Close() //nolint:errcheck // what it holds ends with its TTL
	st, err := cl.Mesh(ctx)
	if err != nil {
		r.t.Fatal(err)
	}
	if len(st.Members) != 1 {
		r.t.Errorf("members %v, want the one", st.Members)
	}
	if _, err := cl.TryAcquire(ctx, "k"); !errors.Is(err, sharelock.ErrQuarantined) && err != nil {
		r.t.Errorf("acquire in quarantine: %v", err)
	}
	after, err := cl.Acquire(ctx, "k")
	if err != nil {
		r.t.Fatal(err)
	}
	if after.Token() <= old {
		r.t.Errorf("token %d after %d: tokens go back", after.Token(), old)
	}
	if now, err := cl.CheckToken(ctx, "k", old); err != nil || now.Current {
		r.t.Errorf("the old token: %+v, %v, want it stale", now, err)
	}
}
