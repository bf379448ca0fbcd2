package main

import (
	"errors"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/client"
	"github.com/sgkandale/sharelock/cmd/sharelock/internal/exit"
	"github.com/sgkandale/sharelock/internal/cluster"
)

// following is a command with --watch that runs in the background.
type following struct {
	*testApp
	t    *testing.T
	code <-chan int
	// read is how much of the output was examined.
	read int
}

func follow(t *testing.T, c *cluster.Cluster, args ...string) *following {
	t.Helper()
	var servers []string
	for i := range c.Len() {
		servers = append(servers, c.Addrs(i).GRPC)
	}
	if args[0] == "members" {
		servers = servers[:1]
	}
	f := &following{testApp: newApp(), t: t}
	f.code = f.background(append(args, "--watch", "--server", strings.Join(servers, ","), "--timeout", "1s")...)
	return f
}

// until waits until new output has a text.
func (f *following) until(text string) {
	f.t.Helper()
	eventually(f.t, text, func() bool {
		at := strings.Index(f.out.String()[f.read:], text)
		if at < 0 {
			return false
		}
		f.read += at + len(text)
		return true
	})
}

// end interrupts the command.
func (f *following) end() {
	f.t.Helper()
	f.signals <- syscall.SIGINT
	if code := <-f.code; code != exit.OK && code != exit.Signal+int(syscall.SIGINT) {
		f.t.Errorf("it ends with %d: %s", code, f.err)
	}
}

// get, list and members with --watch show every change. The loss of a node adds a line and is not an error.
func TestWatchFlag(t *testing.T) {
	c := cluster.Start(t, cluster.Options{Timing: time.Second, MaxTTL: time.Minute, Without: []cluster.Invariant{cluster.Linearizable}})
	ctx := t.Context()
	owner := c.Owner("orders/1")
	cl, err := c.Dial(ctx, client.Options{ClientID: "worker-1", Patience: time.Minute}, (owner+1)%3)
	if err != nil {
		t.Fatal(err)
	}
	get, list, json := follow(t, c, "get", "orders/1"), follow(t, c, "list", "orders/"), follow(t, c, "get", "orders/1", "-o", "json")
	get.until("nobody holds the key or waits for it\n")
	list.until("KEY")
	json.until("{}\n")
	l, err := cl.Acquire(ctx, "orders/1")
	if err != nil {
		t.Fatal(err)
	}
	get.until("held by")
	get.until("worker-1")
	list.until("orders/1")
	json.until(`"clientId":"worker-1"`)
	c.Kill(owner)
	get.until("moved")
	if err := l.Release(ctx); err != nil && !errors.Is(err, sharelock.ErrNotHeld) {
		t.Fatal(err)
	}
	get.until("nobody holds the key or waits for it\n")
	json.until("{}\n")
	for _, f := range []*following{get, list, json} {
		f.end()
	}
	if text := get.err.String() + list.err.String(); text != "" && !strings.Contains(text, "no node answers") && !strings.Contains(text, "quarantine") {
		t.Errorf("errors are printed: %s", text)
	}
	if lines := strings.Split(json.out.String(), "\n"); !strings.HasPrefix(lines[0], "{") || !strings.HasPrefix(lines[1], "{") {
		t.Errorf("not one line for each picture:\n%s", json.out)
	}
}

func TestWatchMembers(t *testing.T) {
	c := cluster.Start(t, cluster.Options{Nodes: 1, Without: []cluster.Invariant{cluster.Linearizable}})
	f := follow(t, c, "members")
	f.until(c.Name(0))
	first := f.out.String()
	c.Kill(0)
	f.until("no node answers, trying again")
	if n := strings.Count(f.out.String(), "MEMBER"); n != strings.Count(first, "MEMBER") {
		t.Errorf("an unchanged picture is printed %d times:\n%s", n, f.out)
	}
	f.end()
}

// Outputs follow each other if they differ in more than durations. On a screen each replaces the one
// before.
func TestPictures(t *testing.T) {
	a := newApp()
	l := live{remote: &remote{app: a.app, output: "text"}}
	l.put("k held, expires in 9s\n", "")
	l.put("k held, expires in 8.5s\n", "")
	l.say("moved")
	l.say("moved")
	l.put("k free\n", "sharelock: careful\n")
	if got, want := a.out.String(), "k held, expires in 9s\nmoved\n\nk free\nsharelock: careful\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	a = newApp()
	l = live{remote: &remote{app: a.app, output: "text"}, screen: true}
	l.say("moved")
	l.put("k\n", "")
	if got, want := a.out.String(), screenHome+"k"+lineRest+"\n"+lineRest+"\nmoved"+lineRest+"\n"+screenRest; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
