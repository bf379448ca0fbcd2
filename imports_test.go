package sharelock_test

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
)

// This file holds the house together: who may import whom, who may use which
// library, which files stay pure. What is not listed is forbidden; a new folder
// or library gets its line here first.

const module = "github.com/sgkandale/sharelock"

// Libraries, by the prefix of their import paths.
const (
	bbolt      = "go.etcd.io/bbolt"
	cobra      = "github.com/spf13/cobra"
	consistent = "github.com/buraksezer/consistent"
	genproto   = "google.golang.org/genproto/googleapis/rpc"
	goJOSE     = "github.com/go-jose/go-jose/v4"
	goOIDC     = "github.com/coreos/go-oidc/v3"
	grpc       = "google.golang.org/grpc"
	hclog      = "github.com/hashicorp/go-hclog"
	koanf      = "github.com/knadh/koanf"
	memberlist = "github.com/hashicorp/memberlist"
	mux        = "github.com/gorilla/mux"
	otel       = "go.opentelemetry.io/otel"
	otelTrace  = "go.opentelemetry.io/otel/trace"
	pflag      = "github.com/spf13/pflag"
	porcupine  = "github.com/anishathalye/porcupine"
	prometheus = "github.com/prometheus"
	protobuf   = "google.golang.org/protobuf"
	raft       = "github.com/hashicorp/raft"
	xsync      = "golang.org/x/sync"
	xsys       = "golang.org/x/sys"
	xxhash     = "github.com/cespare/xxhash/v2"
	yaml       = "go.yaml.in/yaml"
)

// folder says what the Go files of one folder may import, besides the standard
// library. Tests may import all of ours, and the test libraries besides theirs.
type folder struct {
	dir       string
	ours      []string // folders of this module; "." is the root package
	libraries []string
}

// arithmetic is below everything: every folder may import it, and it imports nothing of ours.
const arithmetic = "internal/intconv"

var folders = []folder{
	{".", nil, nil},
	{"internal/release", nil, nil},
	{arithmetic, nil, nil},
	{"internal/rules", nil, nil},
	{"internal/audit", []string{"internal/share"}, nil},
	{"internal/logtail", nil, nil},
	{"internal/flight", nil, nil},
	{"internal/seldom", nil, nil},
	{"internal/quota", []string{"."}, nil},
	{"internal/clock", nil, []string{xsys}},
	{"internal/logbridge", []string{"internal/seldom"}, []string{hclog}},
	{"internal/meshhook", []string{"internal/release", "mesh/link"}, []string{grpc}},
	{"internal/ringproto", []string{"proto/sharelock/peer/v1", "ring"}, nil},
	{"internal/golden", []string{"internal/release"}, []string{protobuf}},
	{"internal/wake", nil, nil},
	{"internal/netconn", nil, nil},
	{"internal/metrics", nil, nil},
	{"internal/caller", nil, nil},
	{"internal/tracecontext", nil, nil},
	{"internal/trace", []string{".", "internal/tracecontext"}, []string{otel}},
	{"internal/pagetoken", nil, nil},
	{"internal/auth", []string{".", "internal/audit", "internal/caller", "internal/share"}, []string{goJOSE, goOIDC, yaml}},
	{"internal/certs", nil, nil},
	{"internal/nodetls", []string{"internal/opening", "internal/seldom", "internal/share"}, nil},
	{"internal/opening", []string{"internal/share"}, nil},
	{"internal/connlimit", []string{"internal/seldom", "internal/share"}, nil},
	{"internal/share", nil, nil},
	{"internal/seldom", nil, nil},
	{"internal/page", nil, nil},
	{"ring", nil, []string{consistent, xxhash}},
	{"owner/ledger", []string{".", "owner/machine"}, nil},
	{"owner/feed", []string{".", "internal/pace", "internal/prefixes", "internal/wake", "ring"}, nil},
	{"owner", []string{".", "internal/compact", "internal/metrics", "internal/release", "internal/rules", "internal/trace", "internal/tracecontext", "internal/wake", "ring", "owner/feed", "owner/journal", "owner/ledger", "owner/machine", "owner/ops"}, nil},
	{"owner/machine/finished", []string{"internal/compact"}, nil},
	{"owner/machine/principals", []string{"internal/compact"}, nil},
	{"owner/machine", []string{".", "internal/compact", arithmetic, "internal/release", "internal/rules", "internal/tracecontext", "owner/machine/finished", "owner/machine/principals", "owner/ops"}, nil},
	{"owner/journal", []string{".", "internal/segment", "internal/wake", "owner/ops"}, []string{xxhash}},
	{"internal/segment", nil, nil},
	{"owner/ops", []string{".", "internal/release"}, nil},
	{"internal/compact", []string{"."}, nil},
	{"internal/clienthook", []string{".", "proto/sharelock/v1"}, nil},
	{"internal/clientid", []string{"."}, nil},
	{"internal/frame", []string{"internal/netconn"}, nil},
	{"internal/protofield", nil, []string{protobuf}},
	{"internal/event", []string{"."}, nil},
	{"internal/pace", nil, nil},
	{"internal/prefixes", nil, nil},
	{"proto/sharelock", nil, []string{grpc, protobuf}},
	{"internal/sessionwire", []string{".", "internal/protofield", "internal/tracecontext", "proto/sharelock/v1"}, []string{grpc, protobuf}},
	{"proto/sharelock/v1", []string{"."}, []string{grpc, protobuf, genproto}},
	{"proto/sharelock/peer/v1", []string{"proto/sharelock/v1"}, []string{grpc, protobuf}},
	// The parts of api know no Locker and no server.
	{"api/remote", nil, []string{grpc}},
	{"api/httpjson", []string{".", "proto/sharelock/v1"}, []string{protobuf, genproto}},
	{"api/undelivered", []string{".", "internal/sessionwire"}, nil},
	{"api/halfclosed", []string{"api/remote", "internal/netconn"}, nil},
	{
		"api/gate",
		[]string{".", "api/remote", "internal/audit", "internal/auth", "internal/caller", "internal/event", "internal/netconn", "internal/quota", "internal/sessionwire", "proto/sharelock", "proto/sharelock/v1"},
		[]string{grpc},
	},
	{"api/refuse", []string{".", "internal/frame", "internal/netconn", "internal/sessionwire", "proto/sharelock/v1"}, []string{grpc, protobuf}},
	{"api", []string{".", "api/gate", "api/halfclosed", "api/httpjson", "api/refuse", "api/remote", "api/undelivered", "internal/audit", "internal/auth", "internal/quota", "internal/caller", "internal/event", "internal/frame", "internal/metrics", "internal/netconn", "internal/page", "internal/pagetoken", "internal/sessionwire", "internal/share", "internal/trace", "internal/tracecontext", "proto/sharelock", "proto/sharelock/v1"}, []string{grpc, protobuf, genproto, mux}},
	{
		"mesh",
		[]string{
			".", "api", "api/refuse", "api/remote", "owner", "ring",
			"internal/audit",
			"mesh/authfiles", "mesh/census", "mesh/founding", "mesh/greeting",
			"internal/audit", "internal/quota", "internal/share",
			"mesh/condition",
			"mesh/epoch",
			"mesh/gossip",
			"mesh/history", "owner/journal",
			"mesh/identity",
			"mesh/keyring",
			"mesh/link",
			"mesh/member",
			"mesh/metrics",
			"mesh/network",
			"mesh/peer",
			"mesh/peerport",
			"mesh/raftstream",
			"mesh/route",
			"mesh/view",
			"mesh/watch",
			"internal/certs",
			"internal/auth",
			"internal/clock",
			"internal/connlimit",
			"internal/event",
			"internal/frame",
			"internal/meshhook",
			"internal/nodetls",
			"internal/logbridge",
			"internal/metrics",
			"internal/netconn",
			"internal/protofield",
			"internal/release",
			"internal/ringproto",
			"internal/rules", "internal/seldom", "internal/sessionwire", "internal/trace", "internal/wake",
			"proto/sharelock",
			"proto/sharelock/peer/v1",
			"proto/sharelock/v1",
		},
		[]string{raft, grpc, protobuf, otelTrace},
	},
	// epoch knows no Node, and no network either.
	{"mesh/epoch", []string{"ring", "owner", "mesh/view"}, nil},
	{"mesh/epoch/epochtest", []string{"internal/release", "ring", "owner", "mesh/epoch", "mesh/view", "proto/sharelock/peer/v1"}, nil},
	{
		"mesh/gossip",
		[]string{"internal/logbridge", "internal/ringproto", "internal/rules", "internal/share", "internal/wake", "mesh/keyring", "mesh/network", "proto/sharelock/peer/v1", "ring"},
		[]string{memberlist, protobuf},
	},
	{
		"mesh/founding",
		[]string{"internal/ringproto", "mesh/epoch", "mesh/gossip", "mesh/identity", "mesh/peer", "mesh/view", "proto/sharelock/peer/v1", "ring"},
		nil,
	},
	{
		"mesh/greeting",
		[]string{"internal/ringproto", "mesh/epoch", "mesh/peer", "mesh/view", "proto/sharelock/peer/v1", "ring"},
		nil,
	},
	{"mesh/identity", []string{"internal/release", "internal/rules", "ring"}, []string{xsys}},
	{
		"mesh/member",
		[]string{".", "internal/release", "internal/ringproto", "internal/wake", "ring", "mesh/epoch", "mesh/gossip", "mesh/view", "proto/sharelock/peer/v1"},
		nil,
	},
	{"mesh/authfiles", []string{"internal/ringproto", "mesh/gossip", "ring"}, nil},
	{"mesh/keyring", []string{".", "ring"}, nil},
	{"mesh/metrics", []string{"internal/metrics", "mesh/epoch", "mesh/link", "owner"}, []string{prometheus, protobuf}},
	{"mesh/network", []string{"internal/netconn"}, nil},
	{"mesh/condition", []string{"."}, nil},
	{
		"mesh/peer",
		[]string{
			".", "internal/protofield", "internal/release", "internal/ringproto", "internal/rules", "internal/wake", "ring", "owner", "owner/journal", "owner/ops", "mesh/epoch", "mesh/keyring", "mesh/link", "mesh/view",
			"proto/sharelock/peer/v1", "proto/sharelock/v1",
		},
		[]string{grpc, protobuf},
	},
	{"mesh/peerport", []string{"internal/frame", "internal/opening", "internal/seldom", "internal/share", "mesh/network"}, nil},
	{"mesh/raftstream", []string{"internal/frame", "internal/release", "internal/rules"}, []string{raft}},
	{"mesh/account", []string{"."}, nil},
	{
		"mesh/keepalive",
		[]string{".", "internal/caller", "internal/rules", "internal/wake", "ring", "owner", "mesh/account", "mesh/epoch", "mesh/link", "internal/sessionwire", "proto/sharelock/v1"},
		nil,
	},
	{"mesh/history", []string{".", "mesh/epoch", "owner/journal", "ring"}, nil},
	{"mesh/census", []string{"owner", "mesh/epoch", "ring"}, nil},
	{
		"mesh/route",
		[]string{
			".", "internal/caller", "internal/metrics", "internal/pagetoken", "internal/rules", "internal/trace", "internal/wake", "ring", "owner", "mesh/account", "mesh/epoch", "mesh/keepalive", "mesh/link", "api", "api/halfclosed", "api/remote",
			"internal/sessionwire", "proto/sharelock/v1",
		},
		nil,
	},
	{"mesh/watch", []string{".", "internal/event", "internal/pace", "internal/prefixes", "internal/share", "internal/wake", "ring", "owner", "mesh/epoch"}, nil},
	{"mesh/raftstore", []string{"internal/release"}, []string{raft, bbolt}},
	{"mesh/view", []string{"internal/release", "internal/ringproto", "internal/rules", "internal/wake", "mesh/raftstore", "ring", "proto/sharelock/peer/v1"}, []string{raft, hclog, protobuf}},
	{
		"mesh/link",
		[]string{".", "internal/frame", "internal/protofield", "internal/release", "internal/rules", "internal/tracecontext", "internal/wake", "ring", "owner", "mesh/epoch", "mesh/network", "proto/sharelock/peer/v1"},
		[]string{protobuf},
	},
	{"client/internal/secure", []string{"."}, []string{grpc}},
	{"client/internal/dial", nil, nil},
	{
		"client/internal/session",
		[]string{".", "client/internal/dial", "client/internal/secure", "internal/clienthook", "internal/frame", "internal/sessionwire", "proto/sharelock/v1"},
		[]string{grpc, protobuf, genproto},
	},
	{
		"client",
		[]string{".", "client/internal/dial", "client/internal/secure", "client/internal/session", "internal/clienthook", "internal/clientid", "internal/clock", "internal/rules", "internal/sessionwire", "internal/trace", "internal/tracecontext", "proto/sharelock/v1"},
		[]string{grpc, protobuf, genproto, xxhash, otelTrace},
	},
	{"client/internal/fakenode", []string{".", "internal/frame", "internal/sessionwire", "proto/sharelock/v1"}, []string{grpc, protobuf}},
	{
		"internal/cluster",
		// api and proto: what nodes and calls say of themselves, for the history and
		// for waiting. x/sys: to hold a port that nobody listens on.
		[]string{".", "ring", "owner", "owner/machine", "api", "mesh", "client", "proto/sharelock/v1", "proto/sharelock/peer/v1", "mesh/link", "mesh/network", "internal/certs", "internal/meshhook", "internal/clienthook", "internal/clientid", "internal/sessionwire", "internal/linear", "internal/memnet"},
		[]string{grpc, genproto, protobuf, xsys},
	},
	// The models share nothing with what they are models of.
	{"internal/model", nil, nil},
	{"internal/model/search", nil, nil},
	{"internal/model/seats", []string{"internal/model/search"}, nil},
	{"internal/model/views", []string{"internal/model/search"}, nil},
	{"internal/virtual", nil, nil},
	{"internal/faults", nil, nil},
	{"internal/linear", []string{"."}, []string{porcupine}},
	{"internal/memnet", nil, nil},
	{"internal/invariant", nil, nil},
	{"internal/mutants", nil, nil},
	// What users see of internal/cluster.
	{"testcluster", []string{".", "client", "internal/cluster", "mesh"}, nil},
	{"testcluster/locktest", []string{".", "client"}, nil},
	{
		"cmd/sharelock",
		// The messages, for -o json only: it prints the API's JSON.
		[]string{
			".", "client", "mesh", "mesh/keyring", "proto/sharelock/v1",
			"cmd/sharelock/internal/config",
			"cmd/sharelock/internal/exit",
			"cmd/sharelock/internal/getopt",
			"cmd/sharelock/internal/host",
			"cmd/sharelock/internal/job",
			"cmd/sharelock/internal/show",
			"cmd/sharelock/internal/text",
			"internal/auth", "internal/certs", "internal/clienthook", "internal/clientid", "internal/release", "internal/workload",
		},
		[]string{cobra, pflag, koanf, yaml, xsys, protobuf},
	},
	// The parts of the program. None of them knows a command; config names the flags of settings.
	{"cmd/sharelock/internal/config", []string{"cmd/sharelock/internal/text", "internal/audit", "mesh", "mesh/keyring"}, []string{koanf}},
	{"cmd/sharelock/internal/exit", []string{".", "client", "cmd/sharelock/internal/text"}, nil},
	{"cmd/sharelock/internal/getopt", nil, nil},
	{
		"cmd/sharelock/internal/host",
		[]string{
			"cmd/sharelock/internal/config", "cmd/sharelock/internal/exit", "cmd/sharelock/internal/text", "cmd/sharelock/internal/tracing",
			"internal/audit", "internal/certs", "internal/flight", "internal/logtail", "mesh",
		},
		nil,
	},
	{"cmd/sharelock/internal/job", []string{".", "client", "cmd/sharelock/internal/exit", "cmd/sharelock/internal/text"}, []string{xsys}},
	{"cmd/sharelock/internal/show", []string{".", "cmd/sharelock/internal/text", "mesh/keyring", "proto/sharelock/v1"}, nil},
	{"cmd/sharelock/internal/text", nil, nil},
	{"cmd/sharelock/internal/tracing", []string{"internal/seldom"}, []string{otel}},
	{"internal/workload", nil, nil},
	// The examples speak the original's API with nothing but its messages.
	{"cmd/example_grpc", []string{"proto/sharelock"}, []string{grpc}},
	{"cmd/example_http", nil, nil},
}

// testLibraries may be imported by every test.
var testLibraries = []string{
	porcupine,
	"github.com/creack/pty",
	"github.com/getkin/kin-openapi",
	"go.uber.org/goleak",
	"golang.org/x/net/http2", // a server that refuses
	"golang.org/x/net/nettest",
	grpc, // bufconn, and servers to talk to
	otel, // spans in memory
	"pgregory.net/rapid",
}

// onlyIn names packages that just some files may import, by patterns of
// path.Match.
var onlyIn = map[string][]string{
	memberlist: {"mesh/gossip/*.go"},
	bbolt:      {"mesh/raftstore/*.go"},
	prometheus: {"mesh/metrics/*.go"},
	"testing":  {"*_test.go", "*/*_test.go", "*/*/*_test.go", "*/*/*/*_test.go", "*/*/*/*/*_test.go", "testcluster/locktest/*.go", "internal/virtual/*.go"},
}

// pureFolders decide and do nothing else: they read no clock, start no goroutine and do no
// I/O.
var pureFolders = []string{".", "internal/compact", arithmetic, "internal/release", "internal/rules", "internal/tracecontext", "owner/machine", "owner/machine/finished", "owner/machine/principals", "owner/ops", "ring"}

// impure is what pure files may not import, with everything below it.
var impure = []string{
	"context", "crypto/rand", "io", "log", "math/rand", "net", "os", "runtime", "sync", "syscall",
}

// clock is what pure files may not use of package time.
var clock = []string{
	"After", "AfterFunc", "NewTicker", "NewTimer", "Now", "Since", "Sleep", "Tick", "Until",
}

func TestHouse(t *testing.T) {
	problems, err := inspect(os.DirFS("."))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Error(p)
	}
}

// Every rule must be able to fail.
func TestHouseCatches(t *testing.T) {
	tests := []struct {
		name, file, src string
		want            string // "" for no problem
	}{
		{"a good file", "owner/a.go", `// Package owner is.
			package owner; import ("fmt"; "` + module + `/ring")`, ""},
		{"an import of ours", "ring/a.go", `package ring; import "` + module + `/owner"`, `ring/a.go imports owner`},
		{"the root package", "ring/a.go", `package ring; import "` + module + `"`, `ring/a.go imports .`},
		{"a library", "client/a.go", `package client; import "github.com/hashicorp/raft"`, `client/a.go imports github.com/hashicorp/raft`},
		{"a library with almost the name", "mesh/a.go", `package mesh; import "github.com/hashicorp/raft-wal"`, `imports github.com/hashicorp/raft-wal`},
		{"a library, aliased", "owner/a.go", `package owner; import x "google.golang.org/grpc/codes"`, `owner/a.go imports google.golang.org/grpc/codes`},
		{"a library in a file for windows", "owner/a_windows.go", `package owner; import "golang.org/x/sys/windows"`, `imports golang.org/x/sys/windows`},
		{"a library in another file", "mesh/node.go", `package mesh; import "github.com/hashicorp/memberlist"`, `mesh/node.go imports github.com/hashicorp/memberlist, which is for mesh/gossip/*.go only`},
		{"a library in its file", "mesh/gossip/x.go", `// Package gossip is.
			package gossip; import "github.com/hashicorp/memberlist"`, ""},
		{"testing in the product", "mesh/a.go", `package mesh; import "testing"`, `mesh/a.go imports testing`},
		{"testing in a test", "mesh/a_test.go", `package mesh; import ("testing"; "pgregory.net/rapid"; "` + module + `/testcluster")`, ""},
		{"a library in a test", "ring/a_test.go", `package ring; import "github.com/gorilla/mux"`, `ring/a_test.go imports github.com/gorilla/mux`},
		{"the node in a part's test", "mesh/view/a_test.go", `package view; import "` + module + `/mesh"`, `mesh/view/a_test.go imports mesh, but no part`},
		{"an unknown folder", "util/a.go", `package util`, `util/a.go is in a folder without a rule`},
		{"no doc comment", "api/a.go", `package api`, `api: no file has a doc comment`},
		{"a doc comment in a test", "api/a_test.go", `// Package api is.
			package api`, ""},
		{"init", "api/a.go", `package api; func init() {}`, `api/a.go:1 declares init`},
		{"a method called init", "api/a.go", `// Package api is.
			package api; type t int; func (t) init() {}`, ""},
		{"a log in a pure file", "ring/a.go", `package ring; import "log/slog"`, `ring/a.go imports log/slog, but it is pure`},
		{"sync/atomic in a pure file", "owner/machine/turn.go", `package machine; import "sync/atomic"`, `owner/machine/turn.go imports sync/atomic`},
		{"sync in the shell", "owner/shard.go", `// Package owner is.
			package owner; import "sync"`, ""},
		{"iter is not io", "owner/machine/turn.go", `// Package machine is.
			package machine; import "iter"`, ""},
		{"a clock in a pure file", "owner/machine/turn.go", "package machine\nimport \"time\"\nvar t = time.Now()", `owner/machine/turn.go:3 reads the clock: time.Now`},
		{"a clock under another name", "ring/a.go", "package ring; import tm \"time\"\nvar t = tm.Since", `ring/a.go:2 reads the clock: time.Since`},
		{"a clock in plain sight", "ring/a.go", "package ring; import . \"time\"", `ring/a.go imports time with a dot`},
		{"durations are no clock", "owner/machine/turn.go", `// Package machine is.
			package machine; import "time"; var d = time.Second`, ""},
		{"a goroutine in a pure file", "owner/ops/op.go", "package ops; func f() {\ngo f()\n}", `owner/ops/op.go:2 starts a goroutine`},
		{"a plain bubble", "ring/a_test.go", "package ring; import \"testing/synctest\"\nvar run = synctest.Test", `ring/a_test.go:2 uses synctest.Test, not virtual.Test`},
		{"waiting in a bubble", "ring/a_test.go", `package ring; import "testing/synctest"; var wait = synctest.Wait`, ""},
		{"a file that does not parse", "ring/a.go", "package", "ring/a.go"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			problems, err := inspect(fstest.MapFS{
				tt.file:               {Data: []byte(tt.src)},
				"x/testdata/b.go":     {Data: []byte("package b")},
				".cache/x/b.go":       {Data: []byte("package b")},
				"go.mod":              {},
				"module/go.mod":       {},
				"module/b.go":         {Data: []byte("package b")},
				"docs/not_go.md":      {Data: []byte("package b")},
				"ring/testdata/b.txt": {Data: []byte("package b")},
			})
			if err != nil {
				problems = append(problems, err.Error())
			}
			all := strings.Join(problems, "\n")
			if tt.want == "" && all != "" || !strings.Contains(all, tt.want) {
				t.Errorf("problems:\n%s\nwant: %s", all, tt.want)
			}
		})
	}
}

// inspect reads all Go files of a module and says which rules they break.
func inspect(root fs.FS) (problems []string, err error) {
	documented := map[string]bool{} // folder -> one of its files has a doc comment
	err = fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			return skipped(root, name, d)
		}
		if path.Ext(name) != ".go" {
			return nil
		}
		src, err := fs.ReadFile(root, name)
		if err != nil {
			return err
		}
		f, err := parse(name, src)
		if err != nil {
			return err
		}
		problems = append(problems, f.problems()...)
		if !f.isTest {
			documented[f.dir] = documented[f.dir] || strings.TrimSpace(f.ast.Doc.Text()) != ""
		}
		return nil
	})
	for _, dir := range slices.Sorted(maps.Keys(documented)) {
		if !documented[dir] {
			problems = append(problems, dir+": no file has a doc comment for the package")
		}
	}
	return problems, err
}

// skipped returns fs.SkipDir if a folder has no packages of this module.
func skipped(root fs.FS, name string, d fs.DirEntry) error {
	if name != "." && (strings.ContainsAny(d.Name()[:1], "._") || slices.Contains([]string{"testdata", "bin", "data"}, d.Name())) {
		return fs.SkipDir
	}
	// A module of its own has rules of its own; nothing here can import it.
	if _, err := fs.Stat(root, path.Join(name, "go.mod")); err == nil && name != "." {
		return fs.SkipDir
	}
	return nil
}

// source is one parsed file.
type source struct {
	name, dir string
	isTest    bool
	fset      *token.FileSet
	ast       *ast.File
}

func parse(name string, src []byte) (*source, error) {
	s := &source{
		name: name, dir: path.Dir(name), isTest: strings.HasSuffix(name, "_test.go"), fset: token.NewFileSet(),
	}
	var err error
	s.ast, err = parser.ParseFile(s.fset, name, src, parser.ParseComments|parser.SkipObjectResolution)
	return s, err
}

func (s *source) problems() []string {
	i := slices.IndexFunc(folders, func(f folder) bool { return f.dir == s.dir })
	if i < 0 {
		return []string{s.name + " is in a folder without a rule in imports_test.go"}
	}
	var problems []string
	for _, imp := range s.ast.Imports {
		p, _ := strconv.Unquote(imp.Path.Value) // The parser has checked it.
		if why := s.mayNotImport(folders[i], p); why != "" {
			problems = append(problems, fmt.Sprintf("%s imports %s, %s", s.name, ourFolder(p), why))
		}
	}
	problems = append(problems, s.initFunctions()...)
	problems = append(problems, s.bubbles()...)
	if s.pure() {
		problems = append(problems, s.impurities()...)
	}
	return problems
}

// mayNotImport says why the file may not import p, or nothing.
func (s *source) mayNotImport(f folder, p string) string {
	for prefix, files := range onlyIn {
		if below(p, prefix) && !slices.ContainsFunc(files, s.matches) {
			return "which is for " + strings.Join(files, ", ") + " only"
		}
	}
	switch {
	case ourFolder(p) == "mesh" && s.dir != "mesh" && below(s.dir, "mesh"):
		return "but no part of it knows the node, and each is tested alone"
	case below(p, module):
		if own := ourFolder(p); !s.isTest && own != arithmetic && !slices.Contains(f.ours, own) {
			return fmt.Sprintf("but %s may import only %v of ours", f.dir, f.ours)
		}
	case strings.Contains(strings.Split(p, "/")[0], "."): // Not the standard library.
		allowed := f.libraries
		if s.isTest {
			allowed = slices.Concat(allowed, testLibraries)
		}
		if !belowAny(p, allowed) {
			return fmt.Sprintf("but %s may import only the libraries %v", f.dir, allowed)
		}
	case s.pure() && belowAny(p, impure):
		return "but it is pure"
	}
	return ""
}

func (s *source) matches(pattern string) bool {
	ok, _ := path.Match(pattern, s.name)
	return ok
}

// pure reports whether the file belongs to those that only decide.
func (s *source) pure() bool {
	return !s.isTest && slices.Contains(pureFolders, s.dir)
}

// initFunctions finds work that is done by importing a package.
func (s *source) initFunctions() []string {
	var problems []string
	for _, d := range s.ast.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if ok && fn.Recv == nil && fn.Name.Name == "init" && !ast.IsGenerated(s.ast) {
			problems = append(problems, s.at(fn)+" declares init")
		}
	}
	return problems
}

// bubbles finds tests that would crash under the race detector now and then: see
// package virtual.
func (s *source) bubbles() []string {
	var problems []string
	ast.Inspect(s.ast, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok && sel.Sel.Name == "Test" && s.dir != "internal/virtual" {
			if x, ok := sel.X.(*ast.Ident); ok && x.Name == "synctest" {
				problems = append(problems, s.at(n)+" uses synctest.Test, not virtual.Test")
			}
		}
		return true
	})
	return problems
}

// impurities finds clocks and goroutines.
func (s *source) impurities() []string {
	var problems []string
	timeName := ""
	for _, imp := range s.ast.Imports {
		if imp.Path.Value != `"time"` {
			continue
		}
		timeName = "time"
		if imp.Name != nil {
			timeName = imp.Name.Name
		}
		if timeName == "." {
			problems = append(problems, s.name+" imports time with a dot")
		}
	}
	ast.Inspect(s.ast, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			problems = append(problems, s.at(n)+" starts a goroutine, but it is pure")
		case *ast.SelectorExpr:
			x, ok := n.X.(*ast.Ident)
			if ok && x.Name == timeName && slices.Contains(clock, n.Sel.Name) {
				problems = append(problems, s.at(n)+" reads the clock: time."+n.Sel.Name)
			}
		}
		return true
	})
	return problems
}

func (s *source) at(n ast.Node) string {
	return fmt.Sprintf("%s:%d", s.name, s.fset.Position(n.Pos()).Line)
}

// ourFolder is the folder of a package of this module, and the import path of
// any other.
func ourFolder(p string) string {
	if !below(p, module) {
		return p
	}
	return cmp.Or(strings.TrimPrefix(p[len(module):], "/"), ".")
}

// below reports whether p is the package or module prefix, or inside it.
func below(p, prefix string) bool { return p == prefix || strings.HasPrefix(p, prefix+"/") }

func belowAny(p string, prefixes []string) bool {
	return slices.ContainsFunc(prefixes, func(prefix string) bool { return below(p, prefix) })
}
