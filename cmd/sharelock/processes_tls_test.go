//go:build linux

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sgkandale/sharelock/cmd/sharelock/internal/exit"
	"github.com/sgkandale/sharelock/internal/auth"
)

// A node and client commands use the certificates that sharelock tls creates, as real processes.
func TestProcessesTLS(t *testing.T) {
	r := newRehearsal(t, 1, "")
	host, dir := r.host(0), filepath.Join(r.dir, "certs")
	self := program(t)
	run := func(code int, env []string, args ...string) string {
		t.Helper()
		cmd := exec.Command(self, args...)
		cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "SHARELOCK_SERVER=" + host + ":50052"}, env...)
		out, err := cmd.CombinedOutput()
		if got := cmd.ProcessState.ExitCode(); got != code {
			t.Errorf("sharelock %s: exit code %d, want %d: %v\n%s", strings.Join(args, " "), got, code, err, out)
		}
		return string(out)
	}
	for _, args := range [][]string{
		{"ca", "create"}, {"cert", "create", "--member", "a", "--host", host}, {"cert", "create", "--client", "ci"},
	} {
		run(exit.OK, nil, append(append([]string{"tls"}, args...), "--dir", dir)...)
	}
	at := func(name string) string { return filepath.Join(dir, name) }
	if err := os.WriteFile(r.file, fmt.Appendf(nil, "tls: {ca_file: %s, cert_file: %s, key_file: %s, clients: mutual}\n", at("ca.pem"), at("a.pem"), at("a-key.pem")), 0o600); err != nil {
		t.Fatal(err)
	}
	node := r.startWith("--found")
	ca := "SHARELOCK_TLS_CA=" + at("ca.pem")
	env := []string{ca, "SHARELOCK_TLS_CERT=" + at("ci.pem"), "SHARELOCK_TLS_KEY=" + at("ci-key.pem"), "SHARELOCK_AUTH_TOKEN=slk_secret"}
	// The first command also waits for the node.
	said := run(exit.OK, env, "lock", "k", "--timeout", "30s", "--", "env")
	if !strings.Contains(said, "SHARELOCK_KEY=k\n") || !strings.Contains(said, "SHARELOCK_TOKEN=") || !strings.Contains(said, ca) ||
		strings.Contains(said, "secret") || strings.Contains(said, "SHARELOCK_TLS_KEY") {
		t.Errorf("CMD has the environment\n%s", said)
	}
	if said := run(exit.OK, env, "flock", "--pass-auth", "k", "env"); !strings.Contains(said, "SHARELOCK_AUTH_TOKEN=slk_secret") || !strings.Contains(said, "SHARELOCK_TLS_KEY") {
		t.Errorf("with --pass-auth CMD has the environment\n%s", said)
	}
	run(exit.OK, env, "tls", "ca", "create", "--dir", at("other"))
	for want, env := range map[string][]string{
		"signed by unknown authority": append(env, "SHARELOCK_TLS_CA="+at("other/ca.pem")),
		"certificate required":        {ca},
		"needs TLS":                   nil,
	} {
		if said := run(exit.Unreachable, env, "members", "--timeout", "30s"); !strings.Contains(said, want) || strings.Count(said, "\n") != 1 {
			t.Errorf("got %q, want %q", said, want)
		}
	}
	r.stop(node)
}

// startWith starts the first node with more arguments.
func (r *rehearsal) startWith(args ...string) *proc {
	r.t.Helper()
	r.procs = append(r.procs, &proc{name: "a", host: r.host(0), log: &buffer{}, args: args})
	return r.start(0)
}

// Three nodes with certificates and gossip keys, as in docs/getting-started.md: at most six commands, run
// as printed except for the addresses.
func TestGettingStartedTLS(t *testing.T) {
	r := newRehearsal(t, 3, "")
	_, text, _ := strings.Cut(documents(t)["docs/getting-started.md"], "## Three peers on three hosts, with TLS\n")
	for i, name := range []string{"a", "b", "c"} {
		text = strings.ReplaceAll(text, name+".example.com", r.host(i))
	}
	var commands []string
	for _, block := range shellBlock.FindAllStringSubmatch(text, -1) {
		commands = append(commands, strings.Split(strings.TrimSpace(block[1]), "\n")...)
	}
	_, config, _ := strings.Cut(text, "```yaml\n")
	config, _, _ = strings.Cut(config, "```")
	if len(commands) != 6 || config == "" {
		t.Fatalf("the page has %d commands: %q, and the configuration %q", len(commands), commands, config)
	}
	self := program(t)
	shell := func(line string) (string, error) {
		cmd := exec.Command("sh", "-e", "-c", line)
		cmd.Dir = r.dir
		cmd.Env = []string{"PATH=" + filepath.Dir(self) + ":" + os.Getenv("PATH")}
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	for _, line := range commands[:4] {
		if out, err := shell(line); err != nil {
			t.Fatalf("%s: %v\n%s", line, err, out)
		}
	}
	// The nodes of a rehearsal run in this folder.
	r.file = filepath.Join(r.dir, "config.yaml")
	if err := os.WriteFile(r.file, []byte(strings.ReplaceAll(config, "certs/", r.dir+"/certs/")), 0o600); err != nil {
		t.Fatal(err)
	}
	if commands[4] != "sharelock serve --config config.yaml" {
		t.Errorf("the fifth command is %q", commands[4])
	}
	for i := range 3 {
		r.start(i)
	}
	var said string
	r.await("three members", 30*time.Second, func() bool {
		said, _ = shell(commands[5]) // it fails as long as the node is in no view
		return strings.Contains(said, "3 of 3 voters answer")
	})
	for i := range 3 {
		if !strings.Contains(said, r.host(i)+":50052") {
			t.Errorf("no member at %s:\n%s", r.host(i), said)
		}
	}
}

// The token of a held lock is replaced, at the node and in the file of the holder, and the old one is no
// longer valid: the command under the lock continues.
func TestProcessesTokenRotation(t *testing.T) {
	r := newRehearsal(t, 1, "")
	old, oldHash := auth.NewToken()
	next, nextHash := auth.NewToken()
	rules := filepath.Join(r.dir, "auth.yaml")
	allow := func(hash string) {
		t.Helper()
		text := fmt.Sprintf("policies: {all: [{keys: [\"\"], verbs: [acquire, read]}]}\nprincipals: [{name: ci, policies: [all], tokens: [%q]}]\n", hash)
		if err := os.WriteFile(rules, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	allow(oldHash)
	if err := os.WriteFile(r.file, []byte("auth: {file: "+rules+"}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	node := r.startWith("--found")
	server := "SHARELOCK_SERVER=" + r.host(0) + ":50052"
	file := filepath.Join(r.dir, "token")
	if err := os.WriteFile(file, []byte(old), 0o600); err != nil {
		t.Fatal(err)
	}
	holder := exec.Command(program(t), "lock", "k", "--ttl", "1s", "--timeout", "30s", "--auth-token-file", file, "--", "sh", "-c", "echo held; read x; echo done")
	holder.Env = []string{"PATH=" + os.Getenv("PATH"), server}
	out := &buffer{}
	holder.Stdout, holder.Stderr = out, out
	stdin, err := holder.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	defer holder.Wait() //nolint:errcheck // again, after a failure
	defer stdin.Close() //nolint:errcheck // again, after a failure
	r.await("the lock", 30*time.Second, func() bool { return strings.Contains(out.String(), "held") })
	get := func(token string) (string, error) {
		cmd := exec.Command(program(t), "get", "k")
		cmd.Env = []string{server, "SHARELOCK_AUTH_TOKEN=" + token}
		text, err := cmd.CombinedOutput()
		return string(text), err
	}
	if said, err := get(next); err == nil || !strings.Contains(said, "unauthenticated") {
		t.Errorf("the next token before its time: %v, %s", err, said)
	}
	if err := os.WriteFile(file, []byte(next), 0o600); err != nil {
		t.Fatal(err)
	}
	allow(nextHash)
	r.signal(node, syscall.SIGHUP)
	r.await("the old token is refused", 30*time.Second, func() bool { _, err := get(old); return err != nil })
	<-time.After(4 * time.Second) // four TTLs
	if said, err := get(next); err != nil {
		t.Errorf("the lock at the end: %v, %s", err, said)
	}
	if err := stdin.Close(); err != nil {
		t.Error(err)
	}
	if err := holder.Wait(); err != nil || !strings.Contains(out.String(), "done") {
		t.Errorf("the command under the lock: %v\n%s", err, out)
	}
	r.stop(node)
}
