//go:build linux

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sgkandale/sharelock/client"
)

// These tests run real processes, as users do, and kill them. Each process has a loopback address of its
// own (a feature of Linux), so all can use the default ports. By default the tests are short;
// SHARELOCK_REHEARSAL=full uses the times of the README's claims.

// full reports whether to use the long times.
func full() bool { return os.Getenv("SHARELOCK_REHEARSAL") == "full" }

func pick[T any](short, long T) T {
	if full() {
		return long
	}
	return short
}

// lease is the default length of a view lease.
const lease = 2 * time.Second

// rehearsal is a mesh of processes with one shared configuration file.
type rehearsal struct {
	t     *testing.T
	net   string
	file  string
	dir   string
	procs []*proc
	// secure makes clients trust the nodes, and gives them a credential, in a mesh with certificates; may
	// be nil.
	secure func(o *client.Options)
}

type proc struct {
	name, host string
	// program is the program to run, "" is this one; env is one more variable, or "".
	program, env string
	// args are more arguments.
	args  []string
	cmd   *exec.Cmd
	log   *buffer
	ended chan struct{}
}

func newRehearsal(t *testing.T, seeds int, settings string) *rehearsal {
	t.Helper()
	if testing.Short() {
		t.Skip("runs real processes for many seconds")
	}
	r := &rehearsal{t: t, dir: t.TempDir()}
	r.net = fmt.Sprintf("127.%d.%d", 1+rand.IntN(250), 1+rand.IntN(250))
	var list string
	for i := range seeds {
		list += fmt.Sprintf("\n    - %s:7946", r.host(i))
	}
	r.file = filepath.Join(r.dir, "shared.yaml")
	if err := os.WriteFile(r.file, []byte("mesh:\n  seeds:"+list+"\n"+settings), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, p := range r.procs {
			r.kill(p)
			if t.Failed() {
				t.Logf("log of %s:\n%s", p.name, p.log)
			}
		}
	})
	return r
}

// of returns the rehearsal for a step of the test.
func (r *rehearsal) of(t *testing.T) *rehearsal {
	r.t = t
	return r
}

func (r *rehearsal) host(i int) string { return fmt.Sprintf("%s.%d", r.net, i+1) }

// again starts a node that has ended.
func (r *rehearsal) again(ps ...*proc) {
	r.t.Helper()
	for _, p := range ps {
		r.start(slices.Index(r.procs, p))
	}
}

// start starts the node with this number, also again. Only its name and addresses differ from the
// others'.
func (r *rehearsal) start(i int) *proc {
	r.t.Helper()
	for len(r.procs) <= i {
		n := len(r.procs)
		r.procs = append(r.procs, &proc{name: string(rune('a' + n)), host: r.host(n), log: &buffer{}})
	}
	p := r.procs[i]
	p.cmd = exec.Command(cmp.Or(p.program, os.Args[0]), "serve", "--config", r.file, "--node-name", p.name, "--data-dir", filepath.Join(r.dir, p.name),
		"--http-listen", p.host+":50051", "--grpc-listen", p.host+":50052",
		"--peer-listen", p.host+":50053", "--gossip-listen", p.host+":7946")
	p.cmd.Args = append(p.cmd.Args, p.args...)
	p.cmd.Env = append(os.Environ(), "SHARELOCK_TEST_MAIN=1")
	if p.env != "" {
		p.cmd.Env = append(p.cmd.Env, p.env)
	}
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	if err := p.cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	p.ended = make(chan struct{})
	go func(cmd *exec.Cmd, ended chan struct{}) {
		cmd.Wait() //nolint:errcheck // usually killed on purpose
		close(ended)
	}(p.cmd, p.ended)
	return p
}

// kill sends SIGKILL.
func (r *rehearsal) kill(p *proc) {
	if p.cmd != nil && p.cmd.Process != nil {
		p.cmd.Process.Kill() //nolint:errcheck // it may have ended
		<-p.ended
	}
}

// pause sends SIGSTOP, and returns when the process has stopped.
func (r *rehearsal) pause(p *proc) {
	r.t.Helper()
	r.signal(p, syscall.SIGSTOP)
	for {
		var info unix.Siginfo
		err := unix.Waitid(unix.P_PID, p.cmd.Process.Pid, &info, unix.WSTOPPED, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			r.t.Fatalf("%s does not stop: %v", p.name, err)
		}
		return
	}
}

// goOn sends SIGCONT.
func (r *rehearsal) goOn(p *proc) {
	r.t.Helper()
	r.signal(p, syscall.SIGCONT)
}

func (r *rehearsal) signal(p *proc, sig syscall.Signal) {
	r.t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		r.t.Fatal(err)
	}
}

// stop sends SIGTERM, and waits until the process has left in good order.
func (r *rehearsal) stop(p *proc) {
	r.t.Helper()
	r.signal(p, syscall.SIGTERM)
	select {
	case <-p.ended:
		if code := p.cmd.ProcessState.ExitCode(); code != 0 {
			r.t.Errorf("%s ended with exit code %d", p.name, code)
		}
	case <-time.After(30 * time.Second):
		r.t.Fatalf("%s does not end after SIGTERM", p.name)
	}
}

// await polls until ok returns true, and returns how long that took.
func (r *rehearsal) await(what string, limit time.Duration, ok func() bool) time.Duration {
	r.t.Helper()
	begin := time.Now()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if time.Since(begin) > limit {
			r.t.Fatalf("not within %v: %s", limit, what)
		}
		<-tick.C
	}
	return time.Since(begin)
}

func (p *proc) ready() bool { return p.readyBy("http", http.DefaultClient) }

// ready reports whether a node is ready, over TLS if it has it.
func (r *rehearsal) ready(p *proc) bool {
	if r.secure == nil {
		return p.ready()
	}
	var o client.Options
	r.secure(&o)
	by := &http.Transport{TLSClientConfig: o.TLS, DisableKeepAlives: true}
	return p.readyBy("https", &http.Client{Transport: by, Timeout: time.Second})
}

func (p *proc) readyBy(scheme string, c *http.Client) bool {
	resp, err := c.Get(scheme + "://" + p.host + ":50051/readyz") //nolint:noctx // bounded by the caller's patience
	if err != nil {
		return false
	}
	defer resp.Body.Close() //nolint:errcheck // only its status counts
	return resp.StatusCode == http.StatusOK
}

// form starts the founding nodes and returns when they are one mesh.
func (r *rehearsal) form(n int) []*proc {
	r.t.Helper()
	for i := range n {
		r.start(i)
	}
	r.await("the seeds are one mesh", 30*time.Second, func() bool { return r.whole(r.procs...) })
	return slices.Clone(r.procs)
}

// together reports whether every one of the processes is ready and sees exactly these members.
func (r *rehearsal) together(ps ...*proc) bool { return r.agree(0, ps) }

// whole reports whether they are together and have as many voters as possible.
func (r *rehearsal) whole(ps ...*proc) bool { return r.agree((min(len(ps), 5)+1)/2*2-1, ps) }

// agree reports whether every one of the processes is ready and sees exactly these members, at least voters
// of which vote.
func (r *rehearsal) agree(voters int, ps []*proc) bool {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	epoch := uint32(0)
	for _, p := range ps {
		if !r.ready(p) {
			return false
		}
		c := r.client(p)
		m, err := c.Mesh(ctx)
		if cerr := c.Close(); err != nil || cerr != nil || len(m.Members) != len(ps) || (epoch != 0 && m.Epoch != epoch) {
			return false
		}
		vote := 0
		for _, member := range m.Members {
			if member.Name == p.name && member.Owns != m.Active {
				return false
			}
			if member.Voter {
				vote++
			}
		}
		if vote < voters {
			return false
		}
		epoch = m.Epoch
	}
	return true
}

// but returns the processes without some.
func but(ps []*proc, without ...*proc) []*proc {
	return slices.DeleteFunc(slices.Clone(ps), func(p *proc) bool { return slices.Contains(without, p) })
}

// client returns a client that uses the nodes in this order, and no others.
func (r *rehearsal) client(ps ...*proc) *client.Client {
	r.t.Helper()
	return r.dial(client.Options{OnlyAddrs: true}, ps)
}

func (r *rehearsal) dial(o client.Options, ps []*proc) *client.Client {
	r.t.Helper()
	var addrs []string
	for _, p := range ps {
		addrs = append(addrs, p.host+":50052")
	}
	if r.secure != nil {
		r.secure(&o)
	}
	c, err := client.Dial(context.Background(), addrs, o)
	if err != nil {
		r.t.Fatal(err)
	}
	return c
}

// clients returns as many clients as nodes, as programs use them: each knows all addresses and begins with
// another one.
func (r *rehearsal) clients(ps ...*proc) []*client.Client {
	r.t.Helper()
	var list []*client.Client
	for i := range ps {
		c := r.dial(client.Options{}, slices.Concat(ps[i:], ps[:i]))
		r.t.Cleanup(func() { c.Close() }) //nolint:errcheck // what it holds ends with its TTL
		list = append(list, c)
	}
	return list
}

// keyAt returns a key whose owner and backups satisfy ok.
func (r *rehearsal) keyAt(c *client.Client, prefix string, ok func(owner *proc, backups []*proc) bool) (key string, owner *proc, backups []*proc) {
	r.t.Helper()
	byName := func(name string) *proc {
		return r.procs[slices.IndexFunc(r.procs, func(p *proc) bool { return p.name == name })]
	}
	for i := range 1000 {
		key = fmt.Sprintf("%s/%d", prefix, i)
		at, err := c.Locate(context.Background(), key)
		if err != nil {
			r.t.Fatal(err)
		}
		owner, backups = byName(at.Owner), nil
		for _, b := range at.Backups {
			backups = append(backups, byName(b))
		}
		if ok(owner, backups) {
			return key, owner, backups
		}
	}
	r.t.Fatal("none of 1000 keys lives as wanted")
	return "", nil, nil
}
