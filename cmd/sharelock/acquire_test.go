package main

import (
	"regexp"
	"testing"
	"time"

	"github.com/sgkandale/sharelock/cmd/sharelock/internal/exit"
	"github.com/sgkandale/sharelock/internal/cluster"
)

// acquire -v prints its place in the queue on stderr, and only the hold on stdout.
func TestAcquireVerbose(t *testing.T) {
	c := cluster.Start(t, cluster.Options{Nodes: 1, MaxTTL: time.Minute, Timing: 10 * time.Second})
	first, err := c.Client(0).Acquire(t.Context(), "k")
	if err != nil {
		t.Fatal(err)
	}
	a := newApp()
	a.environ = []string{"SHARELOCK_SERVER=" + c.Addrs(0).GRPC}
	said := &notifies{seen: make(chan string, 16)}
	a.stderr = said
	code := a.background("acquire", "k", "-v", "--wait", "1m")
	select {
	case got := <-said.seen:
		if want := "sharelock: waiting for k, position 1 in the queue\n"; got != want {
			t.Errorf("stderr says %q, want %q", got, want)
		}
	case got := <-code:
		t.Fatalf("it ends with %d", got)
	case <-t.Context().Done():
	}
	if err := first.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := <-code; got != exit.OK || !regexp.MustCompile(`(?m)^key +k$`).MatchString(a.out.String()) {
		t.Errorf("got exit code %d, output %q", got, a.out)
	}
}

// notifies is a writer that sends what is written to a channel.
type notifies struct{ seen chan string }

func (n *notifies) Write(b []byte) (int, error) {
	n.seen <- string(b)
	return len(b), nil
}
