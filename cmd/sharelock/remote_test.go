package main

import (
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/sgkandale/sharelock/cmd/sharelock/internal/exit"
	sharelockv1 "github.com/sgkandale/sharelock/proto/sharelock/v1"
)

// remoteApp returns an app whose commands use m.
func remoteApp(m *fakeMesh) *testApp {
	a := newApp()
	a.environ = []string{"SHARELOCK_SERVER=" + m.addr, "PATH=" + os.Getenv("PATH")}
	return a
}

const token = "256460173377011713"

func TestOutput(t *testing.T) {
	for _, test := range []struct {
		name string
		args []string
		calls
	}{
		{
			"acquire",
			[]string{"acquire", "orders/42", "--client-id", "w1", "--ttl", "10s", "--wait", "5s", "--metadata", "why=demo"},
			calls{"acquire orders/42 by w1 ttl 10s wait 5s EXCLUSIVE slots 0 metadata map[why:demo]"},
		},
		{
			"acquire_slots",
			[]string{"acquire", "up\x1bloads", "--client-id", "w1", "--slots", "3", "-n", "--request-id", "r1"},
			calls{"acquire up\x1bloads by w1 ttl 0s wait 0s EXCLUSIVE slots 3 metadata map[]"},
		},
		{"get", []string{"get", "orders/42"}, calls{"*sharelockv1.GetRequest"}},
		{"members", []string{"members"}, calls{"*sharelockv1.GetMeshRequest"}},
		{"top", []string{"top"}, nil},
		{"locate", []string{"locate", "orders/42"}, calls{"*sharelockv1.LocateRequest"}},
		{"leave", []string{"leave", "--server", "SERVER"}, calls{"*sharelockv1.LeaveRequest"}},
		{"leave", []string{"leave", "--for-good", "--server", "SERVER"}, calls{"*sharelockv1.LeaveRequest"}},
		{"decommission", []string{"decommission", "c"}, calls{"*sharelockv1.DecommissionRequest"}},
		{"keyring", []string{"keyring", "list"}, calls{"*sharelockv1.GetKeyringRequest"}},
		{"keyring_secrets", []string{"keyring", "list", "--show-keys"}, calls{"*sharelockv1.GetKeyringRequest"}},
		{"list_empty", []string{"list", "orders/", "--client", "w1"}, calls{`list "orders/" "w1" 1000 ""`}},
	} {
		for _, format := range []string{"text", "json"} {
			t.Run(test.name+"_"+format, func(t *testing.T) {
				m := startMesh(t)
				a := remoteApp(m)
				args := slices.Clone(test.args)
				if i := slices.Index(args, "SERVER"); i >= 0 {
					args[i] = m.addr
				}
				if !slices.Contains(args, "--request-id") && args[0] == "acquire" {
					args = append(args, "--request-id", "r-7")
				}
				a.command(t, exit.OK, append(args, "-o", format)...)
				out := strings.ReplaceAll(a.out.String(), m.addr, "SERVER")
				if format == "json" && !json.Valid([]byte(out)) {
					t.Errorf("no JSON: %s", out)
				}
				golden(t, test.name+"_"+format, out)
				if got := m.calls(); test.calls != nil && !slices.Equal(got, test.calls) {
					t.Errorf("got calls %q, want %q", got, test.calls)
				}
				if a.err.String() != "" {
					t.Errorf("got stderr %q", a.err)
				}
			})
		}
	}
}

type calls []string

// A lock that acquire acquired stays, and can be renewed and released by its token.
func TestHandedAbout(t *testing.T) {
	m := startMesh(t)
	step := func(name string, code int, args ...string) {
		t.Helper()
		a := remoteApp(m)
		a.command(t, code, args...)
		if name != "" {
			golden(t, name, a.out.String()+a.err.String())
		}
	}
	step("", exit.OK, "acquire", "k", "--client-id", "w1", "--ttl", "30s")
	if !m.isHeld("k") {
		t.Fatal("the lock ended with the command")
	}
	step("held", exit.Failed, "acquire", "k", "-n")
	step("renew_text", exit.OK, "renew", "k", token, "--ttl", "20s")
	step("renew_stale", exit.Failed, "renew", "k", "1")
	step("release_stale", exit.Failed, "release", "k", "1")
	step("release_text", exit.OK, "release", "k", token)
	step("release_again", exit.Failed, "release", "k", token)
	step("", exit.OK, "acquire", "k", "--client-id", "w1", "--shared", "--ttl", "30s")
	step("force_text", exit.OK, "release", "k", "--force", "--reason", "w1 is gone")
	step("force_again", exit.Failed, "release", "k", "--force")
	want := []string{
		"acquire k by w1 ttl 30s wait default EXCLUSIVE slots 0 metadata map[]",
		"acquire k by ", "renew k " + token + " ttl 20s", "renew k 1 ttl 0s", "release k 1", "release k " + token, "release k " + token,
		"acquire k by w1 ttl 30s wait default SHARED slots 0 metadata map[]",
		`force k 0 "w1 is gone"`, `force k 0 ""`,
	}
	got := m.calls()
	for i := range want {
		if i >= len(got) || !strings.HasPrefix(got[i], want[i]) {
			t.Errorf("got calls %q, want %q", got, want)
			break
		}
	}
	for _, args := range [][]string{
		{"release", "k"},
		{"release", "k", "x"},
		{"release", "k", "0"},
		{"release", "k", "-1"},
		{"release", "k", token, "--reason", "why"},
		{"renew", "k", "9223372036854775808"},
		{"list", "--limit", "-1"},
		{"leave", "--server", m.addr + "," + m.addr},
		{"get", ""},
		{"acquire", strings.Repeat("k", 513)},
	} {
		a := remoteApp(m)
		a.command(t, exit.Usage, args...)
		oneLineOf(t, a)
	}
}

func TestErrors(t *testing.T) {
	t.Parallel() // a client whose mesh does not answer takes seconds to close
	m := startMesh(t)
	for key, code := range map[string]int{"free": exit.Failed, "lost": exit.Unreachable, "broken": exit.Failed} {
		a := remoteApp(m)
		a.command(t, code, "get", key)
		oneLineOf(t, a)
	}
	m.setCut()
	a := remoteApp(m)
	a.command(t, exit.Unreachable, "acquire", "k", "--timeout", "50ms")
	oneLineOf(t, a)

	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := l.Addr().String()
	l.Close()
	a = remoteApp(m)
	a.command(t, exit.Unreachable, "members", "--server", nobody, "--timeout", "50ms")
	if line := oneLineOf(t, a); !strings.Contains(line, "refused") {
		t.Errorf("got %q, want the reason", line)
	}
}

// A port that is not a node's gRPC port is reported at once, not after the timeout, and never as a held
// lock.
func TestNotANode(t *testing.T) {
	web := httptest.NewServer(http.NotFoundHandler())
	defer web.Close()
	// The peer port speaks gRPC, too.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	peer, ended := grpc.NewServer(), make(chan error, 1)
	go func() { ended <- peer.Serve(l) }()
	defer func() {
		peer.Stop()
		<-ended
	}()
	for addr, want := range map[string]string{
		web.Listener.Addr().String(): " is not the gRPC port of a node",
		l.Addr().String():            " is a server of gRPC that knows no locks",
	} {
		for _, args := range [][]string{{"get", "k"}, {"lock", "-n", "-E", "42", "k", "--", "true"}, {"acquire", "k"}} {
			a := remoteApp(startMesh(t))
			a.command(t, exit.Unreachable, append([]string{args[0], "--server", addr, "--timeout", "24h"}, args[1:]...)...)
			if line := oneLineOf(t, a); !strings.Contains(line, "wrong port: "+addr+want) {
				t.Errorf("%v: got %q", args, line)
			}
		}
	}
}

func TestListPages(t *testing.T) {
	pages := func() []*sharelockv1.ListResponse {
		return []*sharelockv1.ListResponse{
			{Locks: []*sharelockv1.Lock{scriptedLock("orders/1"), {Key: "orders/2", Owner: "b", Waiters: []*sharelockv1.Waiter{{ClientId: "w"}}, WaiterCount: 1}}, NextPageToken: "more"},
			{Locks: []*sharelockv1.Lock{scriptedLock("orders/3")}, NextPageToken: "even more"},
			{Locks: []*sharelockv1.Lock{{Key: "orders/4", Owner: "c", Holds: scriptedLock("x").Holds[:1], HoldCount: 1}}, Quarantined: 3},
		}
	}
	m := startMesh(t)
	m.lists = pages()
	a := remoteApp(m)
	a.command(t, exit.OK, "list")
	golden(t, "list_text", a.out.String())
	if line := oneLineOf(t, a); !strings.Contains(line, "3 partitions are in quarantine") {
		t.Errorf("got stderr %q, want a warning that the list may not be whole", line)
	}
	m.lists = pages()
	a = remoteApp(m)
	a.command(t, exit.OK, "list", "--limit", "3", "-o", "json")
	golden(t, "list_json", a.out.String())
	want := []string{
		`list "" "" 1000 ""`, `list "" "" 1000 "more"`, `list "" "" 1000 "even more"`,
		`list "" "" 3 ""`, `list "" "" 1 "more"`,
	}
	if got := m.calls(); !slices.Equal(got, want) {
		t.Errorf("got calls %q, want %q", got, want)
	}
}

// Ctrl-C during a wait gives up the place in the queue.
func TestInterruptedAcquire(t *testing.T) {
	m := startMesh(t)
	m.take("k", "somebody")
	a := remoteApp(m)
	code := a.background("acquire", "k", "--wait", "1m")
	m.await(t, 1)
	a.signals <- os.Interrupt
	select {
	case got := <-code:
		if got != 128+2 {
			t.Errorf("got exit code %d, want 130", got)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("still waiting")
	}
	if n := m.waiting(); n != 0 {
		t.Errorf("%d still wait", n)
	}
	if a.err.String() != "" {
		t.Errorf("got stderr %q, want none: the user knows why", a.err)
	}
}
