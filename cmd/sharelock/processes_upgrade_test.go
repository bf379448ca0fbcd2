//go:build linux && !release_next

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	releases "github.com/sgkandale/sharelock/internal/release"
)

// Two releases (schedule 19): this program and one that stands for the next release, which adds an
// operation, a Raft command and a field (build tag release_next). The test does a rolling upgrade that is
// held, goes back, and does an upgrade that is not held, with a crash during each. Nothing is lost and no
// call fails. After that, going back is refused.
func TestProcessesTwoReleases(t *testing.T) {
	r := newRehearsal(t, 3, "")
	next := buildNext(t)
	all := r.form(3)
	clients := r.clients(all...)
	locks := holdThirty(t, clients)
	l := newLoad(t, 100, longTTL, clients, never)
	held := fmt.Sprintf("SHARELOCK_MESH__HOLD_RELEASE=%d", releases.Current)

	roll(r, next, held)
	wantReleases(r, releases.Current, releases.Current+1)
	locks.check(t, clients[0])
	roll(r, "", "")
	wantReleases(r, releases.Current, releases.Current)
	locks.check(t, clients[0])
	roll(r, next, "")
	r.await("the release has risen", 20*time.Second, func() bool {
		return !slices.ContainsFunc(all, func(p *proc) bool { return viewRelease(r, p) != releases.Current+1 })
	})
	wantReleases(r, releases.Current+1, releases.Current+1)
	locks.check(t, clients[0])

	// The additions of the next release are used only now.
	marks := func() (n int) {
		for _, p := range all {
			n += strings.Count(p.log.String(), "marked, as the next release does")
		}
		return n
	}
	if n := marks(); n > 0 {
		t.Errorf("the command of the next release was used %d times before the release had risen", n)
	}
	r.stop(all[0])
	r.again(all[0])
	r.await("it is back", 20*time.Second, func() bool { return r.whole(all...) })
	if marks() == 0 {
		t.Error("nobody has used the command of the next release")
	}
	goBack(r, all, next)
	l.end()
	locks.check(t, clients[0])
	locks.release(t)
}

// buildNext builds the program that stands for the next release.
func buildNext(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "sharelock-next")
	cmd := exec.Command("go", "build", "-pgo=off", "-tags", "release_next", "-o", path, ".")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build the next release: %v\n%s", err, out)
	}
	return path
}

// roll replaces the program of one node after the other; "" is this one. After the first was replaced, the
// last one crashes and comes back with its old program.
func roll(r *rehearsal, program, env string) {
	r.t.Helper()
	rollIn(r, program, env, releases.Current)
}

// rollIn is roll in a mesh whose view has a release, which must not change.
func rollIn(r *rehearsal, program, env string, view uint32) {
	r.t.Helper()
	all := r.procs
	for i, p := range all {
		r.stop(p)
		r.await("the others go on", 20*time.Second, func() bool { return r.together(but(all, p)...) })
		p.program, p.env = program, env
		r.again(p)
		r.await("it is back with the other program", 20*time.Second, func() bool { return r.whole(all...) })
		if i > 0 {
			continue
		}
		last := all[len(all)-1]
		r.kill(last)
		r.await("the others go on", 20*time.Second, func() bool { return r.together(but(all, last)...) })
		r.again(last)
		r.await("it is back as it was", 20*time.Second, func() bool { return r.whole(all...) })
		if got := viewRelease(r, p); got != view {
			r.t.Errorf("the view has release %d while two programs are mixed, want %d", got, view)
		}
	}
}

// viewRelease returns the release of the view as a node sees it; 0 means unknown.
func viewRelease(r *rehearsal, p *proc) uint32 {
	c := r.client(p)
	defer c.Close() //nolint:errcheck // nothing is held
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	m, err := c.Mesh(ctx)
	if err != nil {
		return 0
	}
	return m.Release
}

// wantReleases checks what every node reports as the releases of the view and of the programs.
func wantReleases(r *rehearsal, view, programs uint32) {
	r.t.Helper()
	for _, p := range r.procs {
		c := r.client(p)
		m, err := c.Mesh(context.Background())
		if err != nil {
			r.t.Fatal(err)
		}
		if m.Release != view {
			r.t.Errorf("%s: the view has release %d, want %d", p.name, m.Release, view)
		}
		for _, member := range m.Members {
			if member.Release != programs {
				r.t.Errorf("%s: %s has release %d, want %d", p.name, member.Name, member.Release, programs)
			}
		}
		c.Close() //nolint:errcheck // nothing is held
	}
}

// goBack tries the older program after the release has risen: with the data directory, and with an empty
// one. It is refused with an error, and nothing is lost.
func goBack(r *rehearsal, all []*proc, next string) {
	r.t.Helper()
	p := all[1]
	ends := func(want string) {
		r.t.Helper()
		before := len(p.log.String())
		r.again(p)
		select {
		case <-p.ended:
		case <-time.After(30 * time.Second):
			r.t.Fatalf("the older program goes on:\n%s", p.log.String()[before:])
		}
		out := p.log.String()[before:]
		if code := p.cmd.ProcessState.ExitCode(); code != 1 || !strings.Contains(out, want) || strings.Contains(out, "damaged") {
			r.t.Errorf("the older program ended with exit code %d and\n%s\nwant 1 and %q", code, out, want)
		}
	}
	r.stop(p)
	p.program, p.env = "", ""
	dir := filepath.Join(r.dir, p.name)
	ends(releases.Newer(releases.Current + 1).Error())

	aside := dir + ".aside"
	if err := os.Rename(dir, aside); err != nil {
		r.t.Fatal(err)
	}
	ends(fmt.Sprintf("this mesh has release %d", releases.Current+1))
	if !slices.ContainsFunc(all, func(p *proc) bool { return strings.Contains(p.log.String(), "a process is refused for its release") }) {
		r.t.Error("no member's log says that a process was refused")
	}
	if err := os.RemoveAll(dir); err != nil {
		r.t.Fatal(err)
	}
	if err := os.Rename(aside, dir); err != nil {
		r.t.Fatal(err)
	}
	p.program = next
	r.again(p)
	r.await("it is back", 20*time.Second, func() bool { return r.whole(all...) })
}
