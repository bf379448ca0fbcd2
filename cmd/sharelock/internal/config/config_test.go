package config

import (
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/sgkandale/sharelock/cmd/sharelock/internal/text"
)

// sample is the documented file at the root of the repository.
const sample = "../../../../config.yaml"

// The sample names every key that exists, and its default.
func TestSampleIsDefault(t *testing.T) {
	settings, err := fileSettings(sample)
	if err != nil {
		t.Fatal(err)
	}
	named := make(map[string]bool)
	for _, s := range settings {
		named[s.Key] = true
	}
	for _, k := range keys() {
		if !named[k.name] {
			t.Errorf("the sample does not name %s", k.name)
		}
	}
	// Applied to an empty configuration, so that a missing value is noticed.
	var got Config
	if err := got.apply(settings); err != nil {
		t.Fatal(err)
	}
	if want := Default(); !equal(got, want) {
		t.Errorf("got\n%+v\nwant\n%+v", got, want)
	}
}

// equal does not distinguish an empty list from nil.
func equal(a, b Config) bool {
	if len(a.Mesh.Seeds) == 0 && len(b.Mesh.Seeds) == 0 {
		a.Mesh.Seeds, b.Mesh.Seeds = nil, nil
	}
	return reflect.DeepEqual(a, b)
}

// Every key can be set in the file, in the environment and, if it has one, by its flag. The later layer
// wins.
func TestEveryKeyInEveryLayer(t *testing.T) {
	values := map[string][3]string{
		"node.name": {"n1", "n2", "n3"}, "node.data_dir": {"d1", "d2", "d3"},
		"node.keep_awake": {"true", "false", "true"},
		"http.listen":     {":1", ":2", ":3"}, "grpc.listen": {":1", ":2", ":3"}, "grpc.reflection": {"false", "true", "false"},
		"metrics.enabled":  {"false", "true", "false"},
		"mesh.peer_listen": {":1", ":2", ":3"}, "mesh.peer_advertise": {"a:1", "a:2", "a:3"},
		"mesh.gossip_listen": {":1", ":2", ":3"}, "mesh.gossip_advertise": {"a:1", "a:2", "a:3"},
		"mesh.seeds": {"[a:1, b:1]", "a:2,b:2", "a:3, b:3"}, "mesh.cluster": {"c1", "c2", "c3"}, "mesh.lease": {"1s", "3s", "4s"},
		"mesh.insecure":          {"true", "false", "true"},
		"mesh.gossip_encryption": {"off", "migrate", "required"}, "mesh.gossip_keys_file": {"f1", "f2", "f3"},
		"tls.cert_file": {"c1", "c2", "c3"}, "tls.key_file": {"k1", "k2", "k3"}, "tls.ca_file": {"a1", "a2", "a3"},
		"tls.members": {"off", "migrate", "required"}, "tls.clients": {"off", "on", "mutual"},
		"limits.max_connections": {"1", "2", "3"}, "limits.max_sessions": {"1", "2", "3"},
		"mesh.hold_release": {"1", "2", "3"}, "mesh.seat_grace": {"1m", "2m", "3m"},
		"ring.partitions": {"1", "2", "3"}, "ring.replicas": {"1", "2", "3"},
		"locks.default_ttl": {"1s", "2s", "3s"}, "locks.max_ttl": {"2m", "3m", "4m"}, "locks.max_hold": {"1h", "2h", "3h"},
		"locks.default_wait": {"1s", "2s", "3s"}, "locks.max_wait": {"1m", "2m", "3m"},
		"locks.max_waiters_per_key": {"1", "2", "3"}, "locks.max_locks": {"1", "2", "3"},
		"dashboard.enabled": {"false", "true", "false"}, "auth.file": {"f1", "f2", "f3"}, "auth.allow_plaintext_tokens": {"true", "false", "true"},
		"audit.file": {"a1", "a2", "a3"}, "audit.calls": {"true", "false", "true"}, "audit.max_bytes": {"1", "2", "3"}, "audit.keep": {"1", "2", "3"},
		"tracing.keys": {"true", "false", "true"}, "history.max_bytes": {"1048576", "2097152", "0"}, "history.keep": {"1h", "2h", "3h"},
		"ops.listen": {":1", ":2", ":3"}, "debug.listen": {":1", ":2", ":3"}, "debug.flight_recorder": {"true", "false", "true"},
		"log.level": {"debug", "warn", "error"}, "log.format": {"json", "text", "json"}, "shutdown_timeout": {"1s", "2s", "3s"},
	}
	for _, k := range keys() {
		v, ok := values[k.name]
		if !ok {
			t.Errorf("no values for %s", k.name)
			continue
		}
		section, name, nested := strings.Cut(k.name, ".")
		text := section + ": " + quoteAddr(v[0])
		if nested {
			text = section + ":\n  " + name + ": " + quoteAddr(v[0])
		}
		file := mustYAML(t, text)
		environ, err := envSettings([]string{
			"SHARELOCK_" + strings.ToUpper(strings.ReplaceAll(k.name, ".", "__")) + "=" + v[1],
			"SHARELOCK_SERVER=x", "SHARELOCK_PORT_50051_TCP=tcp://x", "OTHER__X=1",
		})
		if err != nil {
			t.Fatal(err)
		}
		var all []Config
		for i, layers := range [][]Setting{file, environ, {{k.name, v[2], "--" + k.flag}}} {
			c := Default()
			if len(layers) != 1 {
				t.Errorf("%s: layer %d has settings %v, want one", k.name, i, layers)
			}
			if err := c.apply(layers); err != nil {
				t.Errorf("%s: %v", k.name, err)
			}
			all = append(all, c)
		}
		if equal(all[0], Default()) || equal(all[0], all[1]) || equal(all[1], all[2]) {
			t.Errorf("%s: some layer did not set it", k.name)
		}
	}
}

func quoteAddr(v string) string {
	if strings.HasPrefix(v, ":") {
		return `"` + v + `"`
	}
	return v
}

func mustYAML(t *testing.T, text string) []Setting {
	t.Helper()
	settings, err := yamlSettings([]byte(text), "test.yaml")
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return settings
}

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLayers(t *testing.T) {
	path := write(t, "http: {listen: ':1'}\ngrpc: {listen: ':2'}\nmesh:\n  seeds: [a:1]\nlog:\nlocks: {max_locks: 5}\n")
	c, origin, err := Load(path,
		[]string{"SHARELOCK_GRPC__LISTEN=:3", "SHARELOCK_MESH__SEEDS=b:1, c:1", "SHARELOCK_LOCKS__MAX_LOCKS=0"},
		[]Setting{{"mesh.seeds", "d:1", "--seeds"}, {"log.level", "debug", "--log-level"}})
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.Mesh.HTTPListen, want.Mesh.GRPCListen, want.Mesh.Seeds = ":1", ":3", []string{"d:1"}
	want.LogLevel = slog.LevelDebug
	if want.Mesh.Name, err = os.Hostname(); err != nil {
		t.Fatal(err)
	}
	if !equal(c, want) {
		t.Errorf("got\n%+v\nwant\n%+v", c, want)
	}
	for key, from := range map[string]string{
		"http.listen": path, "grpc.listen": "SHARELOCK_GRPC__LISTEN", "mesh.seeds": "--seeds", "node.name": "host name", "locks.max_ttl": "",
	} {
		if origin[key] != from {
			t.Errorf("%s is from %q, want %q", key, origin[key], from)
		}
	}
}

func TestBadConfig(t *testing.T) {
	for _, test := range []struct{ name, file, env, want string }{
		{"unknown key", "http: {lissten: x}", "", "http.lissten: unknown key"},
		{"unknown section", "htttp: {listen: x}", "", "htttp.listen: unknown key"},
		{"unknown in the environment", "", "SHARELOCK_HTTP__LISSTEN=x", "SHARELOCK_HTTP__LISSTEN: http.lissten: unknown key"},
		{"section as a value", "http: 5", "", "http: is a section"},
		{"value as a section", "shutdown_timeout: {x: 1}", "", "shutdown_timeout.x: unknown key"},
		{"number for a duration", "mesh: {lease: 2}", "", `mesh.lease: want a duration such as "10s", got 2`},
		{"text for a duration", "mesh: {lease: soon}", "", `got "soon"`},
		{"text for a number", "ring: {partitions: many}", "", "ring.partitions: want a whole number"},
		{"fraction for a number", "ring: {partitions: 1.5}", "", "got 1.5"},
		{"too large a number", "ring: {partitions: 99999999999999999999}", "", "want a whole number"},
		{"number for text", "mesh: {cluster: 5}", "", "mesh.cluster: want text, got 5"},
		{"list for text", "mesh: {cluster: [a]}", "", "want text, got a list"},
		{"text for a boolean", "grpc: {reflection: perhaps}", "", "grpc.reflection: want true or false"},
		{"number in a list", "mesh: {seeds: [a, 5]}", "", "mesh.seeds: want a list of text, got 5 in it"},
		{"number for a list", "mesh: {seeds: 5}", "", "mesh.seeds: want a list"},
		{"empty entry", "", "SHARELOCK_MESH__SEEDS=a:1,,b:1", "an entry of the list is empty"},
		{"level", "log: {level: loud}", "", "log.level: want debug"},
		{"format", "log: {format: xml}", "", "log.format: want text or json"},
		{"no YAML", "a: b: c", "", "config.yaml"},
		{"not a mapping", "- a\n- b", "", "config.yaml"},
		{"twice", "http: {listen: a}\nhttp: {listen: b}", "", "already defined"},
		{"out of limits", "locks: {max_ttl: 48h}", "", "max_ttl"},
		{"two at once", "http: {a: 1}\ngrpc: {b: 2}", "", "grpc.b: unknown key"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var environ []string
			if test.env != "" {
				environ = []string{test.env}
			}
			_, _, err := Load(write(t, test.file), environ, nil)
			if err == nil || !strings.Contains(text.OneLine(err), test.want) {
				t.Errorf("got %v, want %q in it", err, test.want)
			}
		})
	}
	if _, _, err := Load("/does/not/exist.yaml", nil, nil); err == nil {
		t.Error("a file that is not there was read")
	}
	_, _, err := Load("", nil, []Setting{{"log.level", "loud", "--log-level"}})
	if err == nil || !strings.Contains(err.Error(), "--log-level: log.level: want") {
		t.Errorf("got %v", err)
	}
}

// YAML returns a file with the same meaning.
func TestYAML(t *testing.T) {
	file := write(t, "node:\n  name: n1\nmesh:\n  seeds: [\"a:1\", \"b:2\"]\n")
	want, _, err := Load(file, []string{"SHARELOCK_HTTP__LISTEN=:9"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	// Applied to an empty configuration, so that a missing value is noticed.
	var got Config
	if err := got.apply(mustYAML(t, want.YAML(nil))); err != nil || !equal(got, want) {
		t.Errorf("what is shown means\n%+v\nwant\n%+v (%v)", got, want, err)
	}
}

// Every flag sets its key.
func TestFlags(t *testing.T) {
	seen := make(map[string]bool)
	for _, f := range Flags() {
		if f.Name == "" || f.Help == "" || seen[f.Name] {
			t.Errorf("%s has the flag %q, help %q", f.Key, f.Name, f.Help)
		}
		seen[f.Name] = true
	}
	if !seen["seeds"] || !seen["node-name"] {
		t.Errorf("got %v", seen)
	}
}

func FuzzConfig(f *testing.F) {
	data, err := os.ReadFile(sample)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	for _, text := range []string{
		"", "a", "a: b: c", "http:\n  listen: x", "? [a]\n: b", "1: 2", "http: {1: {2: 3}}", "http.listen: x", "~: {a: b}",
		"a: &a [*a]", "&a a: *a", "mesh: {seeds: [[a], {b: c}, ~]}", "shutdown_timeout: 2001-01-01", "<<: {a: b}", "http: !!binary aGk=",
		"\"\": 1", "a.: 1", ".: {}", "ring: {partitions: 0x10, replicas: .inf}",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		settings, err := yamlSettings(data, "fuzz.yaml")
		if err != nil {
			return
		}
		c := Default()
		if err := c.apply(settings); err != nil {
			if line := text.OneLine(err); strings.ContainsAny(line, "\n\r\x1b") {
				t.Errorf("the error is no line for a terminal: %q", line)
			}
			return
		}
		if c.Mesh.Validate() == nil && (c.Mesh.Lease <= 0 || c.Mesh.ShutdownTimeout <= 0 || c.Mesh.Partitions <= 0) {
			t.Errorf("accepted: %+v", c.Mesh)
		}
	})
}
