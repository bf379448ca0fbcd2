package main

import (
	"strings"
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/cmd/sharelock/internal/exit"
)

func TestTopRefuses(t *testing.T) {
	for _, args := range [][]string{
		{"top", "--interval", "1ms"},
		{"top", "--keys", "101"},
		{"top", "--frames", "-1"},
		{"top", "x"},
	} {
		a := newApp()
		a.command(t, exit.Usage, args...)
	}
}

// With --frames the frames follow each other; with -o json each is one line.
func TestTopFrames(t *testing.T) {
	m := startMesh(t)
	a := remoteApp(m)
	a.command(t, exit.OK, "top", "--frames", "3", "--interval", "100ms", "-o", "json")
	if n := strings.Count(a.out.String(), "\n"); n != 3 {
		t.Errorf("%d lines, want 3", n)
	}
}

func TestTopRates(t *testing.T) {
	second := func(last, now sharelock.Activity) (string, string) {
		frames := top{last: []sharelock.Activity{last}, lastAt: time.Now().Add(-time.Hour)}
		return frames.rates(now)
	}
	for _, c := range []struct {
		name         string
		last, now    sharelock.Activity
		grants, ends string
	}{
		{
			"a member that works",
			sharelock.Activity{Name: "a", Grants: 1000, Ends: 10},
			sharelock.Activity{Name: "a", Grants: 1000 + 36000, Ends: 10 + 72000},
			"10", "20",
		},
		{"a member that has started anew", sharelock.Activity{Name: "a", Grants: 1000}, sharelock.Activity{Name: "a", Grants: 3}, "-", "-"},
		{"a new member", sharelock.Activity{Name: "b"}, sharelock.Activity{Name: "a", Grants: 3}, "-", "-"},
		{"a member that did not answer", sharelock.Activity{Name: "a", Err: "x"}, sharelock.Activity{Name: "a", Grants: 3}, "-", "-"},
	} {
		if grants, ends := second(c.last, c.now); grants != c.grants || ends != c.ends {
			t.Errorf("%s: %s and %s a second, want %s and %s", c.name, grants, ends, c.grants, c.ends)
		}
	}
}
