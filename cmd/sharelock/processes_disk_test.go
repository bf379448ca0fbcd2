//go:build linux

package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sgkandale/sharelock"
)

// fill writes a file until the file system of a directory is full.
func fill(t *testing.T, dir string) (file string) {
	t.Helper()
	file = filepath.Join(dir, "filler")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	for size := 1 << 16; size > 0; {
		if _, err := f.Write(make([]byte, size)); errors.Is(err, syscall.ENOSPC) {
			size /= 2
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return file
}

// smallDisk gives a node that has not started yet a file system of its own, and returns its directory.
func (r *rehearsal) smallDisk(name string) (dir string) {
	r.t.Helper()
	if os.Getuid() != 0 {
		r.t.Skip("mounts a file system, which takes root")
	}
	dir = filepath.Join(r.dir, name)
	if err := os.Mkdir(dir, 0o700); err != nil {
		r.t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		r.t.Skipf("mounts a file system: %v", err)
	}
	t := r.t
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// A voter's file system is full. The voter continues to serve, its seat goes to the fourth node, and then
// another node may die. When there is space again, the voter can vote again.
func TestFullFileSystem(t *testing.T) {
	r := newRehearsal(t, 3, "  lease: 1s\n")
	b := 1
	dir := r.smallDisk("b")
	r.form(3)
	r.start(3)
	r.await("four are one mesh", 30*time.Second, func() bool { return r.together(r.procs...) })
	filler := fill(t, dir)
	full, last := r.procs[b], r.procs[3]
	r.await("the seat has moved", time.Minute, func() bool {
		return slices.Equal(r.voters(last), []string{"a", "c", "d"}) && r.mesh(full).DiskError != ""
	})
	if !full.ready() {
		t.Errorf("the node whose disk is full does not serve: %s", full.unready())
	}
	r.kill(r.procs[2])
	r.await("the loss of another node is survived", time.Minute, func() bool { return r.together(r.procs[0], full, last) })
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	r.await("it votes again", time.Minute, func() bool {
		return slices.Equal(r.voters(last), []string{"a", "b", "d"}) && r.mesh(full).DiskError == ""
	})
}

// mesh returns a node's view of the mesh, or nothing if the node does not answer.
func (r *rehearsal) mesh(p *proc) sharelock.MeshState {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	c := r.client(p)
	defer c.Close() //nolint:errcheck // it holds nothing
	m, err := c.Mesh(ctx)
	if err != nil {
		return sharelock.MeshState{}
	}
	return m
}

// voters returns the names of the members with a seat, as a node knows them, sorted.
func (r *rehearsal) voters(p *proc) (names []string) {
	for _, s := range r.mesh(p).Seats {
		names = append(names, s.Name)
	}
	slices.Sort(names)
	return names
}
