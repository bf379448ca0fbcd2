//go:build linux

package main

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/cmd/sharelock/internal/config"
	"github.com/sgkandale/sharelock/cmd/sharelock/internal/exit"
	"github.com/sgkandale/sharelock/cmd/sharelock/internal/host"
	"github.com/sgkandale/sharelock/cmd/sharelock/internal/show"
	"github.com/sgkandale/sharelock/internal/audit"
	"github.com/sgkandale/sharelock/mesh"
)

func TestConfigCheck(t *testing.T) {
	a := newApp()
	a.command(t, exit.OK, "config", "check", sample)
	if got := a.out.String(); got != sample+": ok\n" {
		t.Errorf("got %q", got)
	}
	a = newApp()
	bad := write(t, "node:\n  nme: x\nlocks:\n  default_ttl: soon\n  max_wait: -1s\nring:\n  partitions: 0\naudit:\n  max_bytes: 5\n")
	a.command(t, exit.Failed, "config", "check", bad)
	lines := strings.Split(strings.TrimSpace(a.err.String()), "\n")
	for _, want := range []string{"node.nme: unknown key", "locks.default_ttl: want a duration", "locks.max_wait", "ring.partitions", "audit.max_bytes"} {
		if !strings.Contains(a.err.String(), want) {
			t.Errorf("%q is not among the problems:\n%s", want, a.err)
		}
	}
	if len(lines) < 5 || a.out.String() != "" {
		t.Errorf("%d lines of problems, out %q", len(lines), a.out)
	}
	a = newApp()
	a.command(t, exit.Failed, "config", "check", filepath.Join(t.TempDir(), "none"))
	a.command(t, exit.Usage, "config")
}

// The output of config show is a file with the same meaning, and says where each value is from.
func TestConfigShow(t *testing.T) {
	file := write(t, "node:\n  name: n1\nmesh:\n  seeds: [\"a:1\", \"b:2\"]\n")
	a := newApp()
	a.environ = []string{"SHARELOCK_HTTP__LISTEN=:9"}
	a.command(t, exit.OK, "config", "show", "--config", file)
	want, _, err := config.Load(file, a.environ, nil)
	if err != nil || a.out.String() != want.YAML(nil) {
		t.Errorf("got\n%s\nwant\n%s (%v)", a.out, want.YAML(nil), err)
	}
	b := newApp()
	b.environ = a.environ
	b.command(t, exit.OK, "config", "show", "--config", file, "--origin")
	for key, from := range map[string]string{`name: "n1"`: file, `listen: ":9"`: "SHARELOCK_HTTP__LISTEN", "default_wait: 10s": "default"} {
		found := false
		for line := range strings.SplitSeq(b.out.String(), "\n") {
			found = found || strings.Contains(line, key) && strings.HasSuffix(line, "# "+from)
		}
		if !found {
			t.Errorf("%s is not from %s in\n%s", key, from, b.out)
		}
	}
}

// loopbackPort returns a port that is not in use.
func loopbackPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // it was only for its port
	return l.Addr().String()
}

func fetch(t *testing.T, url string) (code int, body string) {
	t.Helper()
	resp, err := http.Get(url) //nolint:noctx // a node in this process
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close() //nolint:errcheck // it was read
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// upNode reports when a node has started.
type upNode struct {
	*mesh.Node
	up chan struct{}
}

func (s upNode) Start() error { defer close(s.up); return s.Node.Start() }

// A node with all operating features: its ports, its log level, its debug archive.
func TestOperating(t *testing.T) {
	a := newApp()
	base, ops, debug, record := freePorts(t), loopbackPort(t), loopbackPort(t), filepath.Join(t.TempDir(), "audit.log")
	a.environ = []string{"SHARELOCK_OPS__LISTEN=" + ops, "SHARELOCK_DEBUG__LISTEN=" + debug, "SHARELOCK_AUDIT__FILE=" + record}
	var running *mesh.Node
	up := make(chan struct{})
	a.newNode = func(cfg mesh.Config) (host.Node, error) {
		n, err := mesh.New(cfg)
		running = n
		return upNode{n, up}, err
	}
	at := func(i int) string { return fmt.Sprintf("127.0.0.1:%d", base+i) }
	code := a.background("serve", "--found", "--node-name", "n1", "--data-dir", "", "--http-listen", at(0), "--grpc-listen", at(1), "--peer-listen", at(2), "--gossip-listen", at(3))
	<-up
	if err := running.WaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"node n1 of the mesh sharelock", "for members, OPEN: without TLS", "pprof   " + debug, "auth    OPEN: everyone may do everything", "audit   " + record} {
		if !strings.Contains(a.err.String(), want) {
			t.Errorf("%q is not in what it says at its start:\n%s", want, a.err)
		}
	}
	for path, want := range map[string]int{"/healthz": 200, "/readyz": 200, "/readyz?copies=1": 200, "/v1/locks": 404, "/v1/mesh": 404, "/debug/pprof/": 404} {
		if got, body := fetch(t, "http://"+ops+path); got != want {
			t.Errorf("ops.listen: %s is %d, want %d: %s", path, got, want, body)
		}
	}
	for path, want := range map[string]int{"/debug/pprof/": 200, "/debug/pprof/goroutine": 200, "/healthz": 404, "/v1/mesh": 404} {
		if got, body := fetch(t, "http://"+debug+path); got != want {
			t.Errorf("debug.listen: %s is %d, want %d: %s", path, got, want, body)
		}
	}
	client := func(want int, args ...string) string {
		t.Helper()
		c := newApp()
		c.command(t, want, append(args, "--server", at(1))...)
		return c.out.String() + c.err.String()
	}
	if got := client(exit.OK, "health", "--ready"); got != "ready\n" {
		t.Errorf("health says %q", got)
	}
	if got := client(exit.OK, "log-level"); got != "info\n" {
		t.Errorf("the level is %q", got)
	}
	if got := client(exit.OK, "log-level", "debug"); got != "debug\n" || !strings.Contains(a.err.String(), "the log level was changed") {
		t.Errorf("the level is %q, log %s", got, a.err)
	}
	client(exit.Usage, "log-level", "loud")
	if code, body := fetch(t, "http://"+at(0)+"/v1/admin/log-level"); code != 200 || strings.TrimSpace(body) != `{"level":"debug"}` {
		t.Errorf("over HTTP the level is %d %s", code, body)
	}
	testArchive(t, client)
	a.signals <- syscall.SIGTERM
	if got := <-code; got != exit.OK {
		t.Errorf("it ends with %d", got)
	}
	if !strings.Contains(a.err.String(), "left the mesh") {
		t.Errorf("the log does not say that it left:\n%s", a.err)
	}
	if _, err := os.Stat(record); err != nil {
		t.Error(err)
	}
}

func testArchive(t *testing.T, client func(want int, args ...string) string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x.tar.gz")
	client(exit.OK, "debug", "--archive", path)
	client(exit.Failed, "debug", "--archive", path) // the archive exists
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // it was read
	zip, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for r := tar.NewReader(zip); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		files[strings.TrimPrefix(h.Name, "sharelock-debug/")] = string(text)
	}
	for name, want := range map[string]string{
		"mesh.json": `"n1"`, "ring.txt": "0 n1\n", "goroutines.txt": "goroutine ", "log.txt": "node started",
		"config.yaml": "SHARELOCK_OPS__LISTEN", "heap.pprof": "",
	} {
		if text, there := files[name]; !there || !strings.Contains(text, want) {
			t.Errorf("%s is %t, without %q: %.200s", name, there, want, text)
		}
	}
}

// A mesh that is down: health reports it by its exit code.
func TestHealthOfNobody(t *testing.T) {
	a := newApp()
	a.command(t, exit.Unreachable, "health", "--server", loopbackPort(t), "--timeout", "300ms")
}

// members reports what is wrong, marks members that do not answer, and fails if the node cannot serve.
func TestMembersOfLostMesh(t *testing.T) {
	a := newApp()
	m := sharelock.MeshState{
		Node: "a", Leader: "a", Partitions: 1024, Replicas: 2,
		Members: []sharelock.Member{{Name: "a", ID: "1", Voter: true}, {Name: "b", ID: "2", Voter: true, Silent: true}},
		Seats:   []sharelock.Seat{{Name: "a", ID: "1"}, {Name: "b", ID: "2", Silent: true}, {Name: "c", ID: "3", Absent: true, Silent: true, Peer: "10.0.0.3:50053"}},
		Conditions: []sharelock.Condition{
			{Code: "no-quorum", Severe: true, Message: "no majority for 8s: start b and c"}, {Code: "x", Message: "and more"},
		},
	}
	if err := show.Mesh(a.stdout, m); err != nil {
		t.Fatal(err)
	}
	golden(t, "members_lost", a.out.String())
	err := cannotServeNow(m)
	if e, ok := errors.AsType[*exit.Error](err); !ok || e.Code != exit.Unreachable || !strings.Contains(err.Error(), "start b and c") {
		t.Errorf("the error is %v", err)
	}
	m.LeaseValid = true
	if err := cannotServeNow(m); err != nil {
		t.Errorf("a node with a lease: %v", err)
	}
}

// An audit log that serve cannot open is reported in one line, before any port is bound.
func TestAuditFileRefused(t *testing.T) {
	a := newApp()
	a.environ = []string{"SHARELOCK_AUDIT__FILE=" + t.TempDir()}
	a.newNode = func(mesh.Config) (host.Node, error) { t.Error("the node is made"); return nil, context.Canceled }
	a.command(t, exit.Failed, "serve", "--found")
	if got := a.err.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "audit.file") {
		t.Errorf("got %q", got)
	}
	var off *audit.Log
	off.Reopen()
}

// sample is the documented file at the root of the repository.
const sample = "../../config.yaml"

// write writes a file of settings.
func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Any error in the settings is reported by serve in one line.
func TestServeBadConfig(t *testing.T) {
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"--config", write(t, "http: {a: 1}\ngrpc: {b: 2}")}, "grpc.b: unknown key"},
		{[]string{"--config", write(t, "a: b: c")}, "config.yaml"},
		{[]string{"--config", write(t, "http: {listen: a}\nhttp: {listen: b}")}, "already defined"},
		{[]string{"--config", "/does/not/exist.yaml"}, "/does/not/exist.yaml"},
		{[]string{"--log-level", "loud"}, "--log-level: log.level: want"},
	} {
		a := newApp()
		a.command(t, exit.Failed, append([]string{"serve"}, test.args...)...)
		if line := oneLineOf(t, a); !strings.Contains(line, test.want) {
			t.Errorf("%q: got %q, want %q in it", test.args, line, test.want)
		}
	}
}
