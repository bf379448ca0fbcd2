package main

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/env/v2"
	"github.com/knadh/koanf/v2"

	"github.com/sgkandale/sharelock/internal/audit"
	"github.com/sgkandale/sharelock/mesh"
)

// envPrefix is the prefix of every environment variable of ShareLock. The rest of a
// configuration key's variable is the key in capitals, with __ for a dot.
const envPrefix = "SHARELOCK_"

// config holds all settings of serve.
type config struct {
	mesh      mesh.Config
	keepAwake bool
	logLevel  slog.Level
	logFormat string
	audit     audit.Config
	// flightRecorder keeps a trace of the last seconds.
	flightRecorder bool
}

func defaultConfig() config {
	return config{
		mesh: mesh.DefaultConfig(), logLevel: slog.LevelInfo, logFormat: "text",
		audit: audit.Config{MaxBytes: 100 << 20, Keep: 5},
	}
}

// key is one setting: its name, and how its value is parsed.
type key struct {
	name string
	// flag is the name of the setting's flag, or empty, and help is its help text.
	flag, help string
	value
}

// keys returns the table of all settings, in the order of config.yaml.
func keys() []key {
	return slices.Concat(nodeKeys(), gossipKeys(), tlsKeys(), limitKeys(), opsKeys(), historyKeys(), authKeys())
}

// nodeKeys returns the settings of the node and its locks.
func nodeKeys() []key {
	return []key{
		{
			"node.name", "node-name", "name of this node, unique in the mesh (default: the host name)",
			textValue(func(c *config) *string { return &c.mesh.Name }),
		},
		{
			"node.data_dir", "data-dir", "directory of Raft's records and the node's id; empty keeps them in memory",
			textValue(func(c *config) *string { return &c.mesh.DataDir }),
		},
		{
			"node.keep_awake", "", "",
			boolean(func(c *config) *bool { return &c.keepAwake }),
		},
		{
			"http.listen", "http-listen", "address for HTTP",
			textValue(func(c *config) *string { return &c.mesh.HTTPListen }),
		},
		{
			"grpc.listen", "grpc-listen", "address for gRPC",
			textValue(func(c *config) *string { return &c.mesh.GRPCListen }),
		},
		{
			"grpc.reflection", "", "",
			boolean(func(c *config) *bool { return &c.mesh.Reflection }),
		},
		{
			"dashboard.enabled", "", "",
			boolean(func(c *config) *bool { return &c.mesh.Dashboard }),
		},
		{
			"metrics.enabled", "", "",
			boolean(func(c *config) *bool { return &c.mesh.Metrics }),
		},
		{
			"mesh.peer_listen", "peer-listen", "address for other members",
			textValue(func(c *config) *string { return &c.mesh.PeerListen }),
		},
		{
			"mesh.peer_advertise", "peer-advertise", "address at which other members reach peer-listen, if it differs",
			textValue(func(c *config) *string { return &c.mesh.PeerAdvertise }),
		},
		{
			"mesh.gossip_listen", "gossip-listen", "address for gossip, TCP and UDP",
			textValue(func(c *config) *string { return &c.mesh.GossipListen }),
		},
		{
			"mesh.gossip_advertise", "gossip-advertise", "address at which other members reach gossip-listen, if it differs",
			textValue(func(c *config) *string { return &c.mesh.GossipAdvertise }),
		},
		{
			"mesh.seeds", "seeds", "gossip addresses of the first members, comma-separated, the same on every node",
			list(func(c *config) *[]string { return &c.mesh.Seeds }),
		},
		{
			"mesh.cluster", "cluster", "name of the mesh",
			textValue(func(c *config) *string { return &c.mesh.Cluster }),
		},
		insecureKey(),
		{
			"mesh.hold_release", "", "",
			natural(func(c *config) *uint32 { return &c.mesh.HoldRelease }),
		},
		{
			"mesh.lease", "", "",
			duration(func(c *config) *time.Duration { return &c.mesh.Lease }),
		},
		{
			"mesh.seat_grace", "", "",
			duration(func(c *config) *time.Duration { return &c.mesh.SeatGrace }),
		},
		{
			"ring.partitions", "", "",
			integer(func(c *config) *int { return &c.mesh.Partitions }),
		},
		{
			"ring.replicas", "", "",
			integer(func(c *config) *int { return &c.mesh.Replicas }),
		},
		{
			"locks.default_ttl", "", "",
			duration(func(c *config) *time.Duration { return &c.mesh.DefaultTTL }),
		},
		{
			"locks.max_ttl", "", "",
			duration(func(c *config) *time.Duration { return &c.mesh.MaxTTL }),
		},
		{
			"locks.max_hold", "", "",
			duration(func(c *config) *time.Duration { return &c.mesh.MaxHold }),
		},
		{
			"locks.default_wait", "", "",
			duration(func(c *config) *time.Duration { return &c.mesh.DefaultWait }),
		},
		{
			"locks.max_wait", "", "",
			duration(func(c *config) *time.Duration { return &c.mesh.MaxWait }),
		},
		{
			"locks.max_waiters_per_key", "", "",
			integer(func(c *config) *int { return &c.mesh.MaxWaitersPerKey }),
		},
		{
			"locks.max_locks", "", "",
			integer(func(c *config) *int { return &c.mesh.MaxLocks }),
		},
		{"log.level", "log-level", "debug, info, warn or error", value{setLevel, getLevel}},
		{"log.format", "log-format", "text or json", value{setFormat, func(c *config) any { return c.logFormat }}},
		{
			"shutdown_timeout", "", "",
			duration(func(c *config) *time.Duration { return &c.mesh.ShutdownTimeout }),
		},
	}
}

// setting is a value for a key, from one source.
type setting struct {
	key   string
	value any
	// source is where the value came from, for errors.
	source string
}

// apply puts settings into c. It returns an error that lists all bad settings.
func (c *config) apply(settings []setting) error {
	table := make(map[string]key)
	sections := make(map[string]bool)
	for _, k := range keys() {
		table[k.name] = k
		if section, _, ok := strings.Cut(k.name, "."); ok {
			sections[section] = true
		}
	}
	var errs []error
	for _, s := range settings {
		k, known := table[s.key]
		var err error
		switch {
		case known && s.value != nil: // a key without a value, as in "seeds:", sets nothing
			err = k.set(c, s.value)
		case sections[s.key] && !emptySection(s.value):
			err = errors.New("is a section with keys of its own")
		case !known && !sections[s.key]:
			err = errors.New("unknown key")
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %s: %w", s.source, s.key, err))
		}
	}
	return errors.Join(errs...)
}

func emptySection(v any) bool {
	m, ok := v.(map[string]any)
	return v == nil || ok && len(m) == 0
}

// fileSettings reads a YAML file.
func fileSettings(path string) ([]setting, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err // the error names the file
	}
	settings, err := yamlSettings(data, path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return settings, nil
}

func yamlSettings(data []byte, source string) ([]setting, error) {
	k := koanf.New(".")
	if err := k.Load(raw(data), yaml.Parser()); err != nil {
		return nil, err
	}
	return sorted(k.All(), func(string) string { return source }), nil
}

// raw is a koanf provider of bytes.
type raw []byte

// ReadBytes implements koanf.Provider.
func (r raw) ReadBytes() ([]byte, error) { return r, nil }

// Read implements koanf.Provider.
func (r raw) Read() (map[string]any, error) { return nil, errors.New("raw bytes need a parser") }

// envSettings reads the environment. A variable that contains __ must name a key. Other
// variables are ignored unless they name a key: some belong to the client commands, and container
// orchestrators set some, such as SHARELOCK_PORT.
func envSettings(environ []string) ([]setting, error) {
	known := make(map[string]bool)
	for _, k := range keys() {
		known[k.name] = true
	}
	variables := make(map[string]string)
	k := koanf.New(".")
	err := k.Load(env.Provider("", env.Opt{
		Prefix:      envPrefix,
		EnvironFunc: func() []string { return environ },
		TransformFunc: func(variable, value string) (string, any) {
			name := strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(variable, envPrefix), "__", "."))
			if !known[name] && !strings.Contains(name, ".") {
				return "", nil
			}
			variables[name] = variable
			return name, value
		},
	}), nil)
	if err != nil {
		return nil, err
	}
	return sorted(k.All(), func(name string) string { return variables[name] }), nil
}

func sorted(values map[string]any, source func(key string) string) []setting {
	settings := make([]setting, 0, len(values))
	for name, v := range maps.All(values) {
		settings = append(settings, setting{name, v, source(name)})
	}
	slices.SortFunc(settings, func(a, b setting) int { return cmp.Compare(a.key, b.key) })
	return settings
}

// loadConfig combines the defaults, the file, the environment and the flags. Later sources
// override earlier ones.
func loadConfig(path string, environ []string, flags []setting) (config, error) {
	c, _, err := layered(path, environ, flags)
	if err != nil {
		return config{}, err
	}
	return c, nil
}

// layered is loadConfig, with the source of every setting that is not a default. The error lists
// everything that is wrong in all sources.
func layered(path string, environ []string, flags []setting) (c config, origin map[string]string, err error) {
	c, origin = defaultConfig(), make(map[string]string)
	var errs []error
	apply := func(settings []setting, err error) {
		errs = append(errs, err, c.apply(settings))
		for _, s := range settings {
			if s.value != nil {
				origin[s.key] = s.source
			}
		}
	}
	if path != "" {
		apply(fileSettings(path))
	}
	apply(envSettings(environ))
	apply(flags, nil)
	if c.mesh.Name == "" {
		if c.mesh.Name, err = os.Hostname(); err != nil {
			errs = append(errs, fmt.Errorf("node.name is empty, and there is no host name: %w", err))
		}
		origin["node.name"] = "host name"
	}
	errs = append(errs, c.mesh.Validate(), c.audit.Validate())
	return c, origin, errors.Join(errs...)
}

// describe formats a value of the wrong type, or its type, for an error.
func describe(v any) string {
	switch v := v.(type) {
	case string:
		return strconv.Quote(v)
	case []any:
		return "a list"
	case map[string]any, map[any]any:
		return "a section"
	default:
		return fmt.Sprintf("%v", v)
	}
}
