package config

import (
	"log/slog"
	"slices"
	"time"

	"github.com/sgkandale/sharelock/internal/audit"
	"github.com/sgkandale/sharelock/mesh"
)

// Config holds all settings of serve. Its zero value is not a valid configuration; start with [Default].
type Config struct {
	Mesh mesh.Config
	// KeepAwake keeps the processors from sleeping while the node works.
	KeepAwake bool
	LogLevel  slog.Level
	// LogFormat is text or json.
	LogFormat string
	// Audit is about the audit log, which is off if it names no file.
	Audit audit.Config
	// FlightRecorder keeps a trace of the last seconds.
	FlightRecorder bool
}

// Default returns the default settings.
func Default() Config {
	return Config{
		Mesh: mesh.DefaultConfig(), LogLevel: slog.LevelInfo, LogFormat: "text",
		Audit: audit.Config{MaxBytes: 100 << 20, Keep: 5},
	}
}

// SetLevel sets the level of the log: debug, info, warn or error.
func (c *Config) SetLevel(level string) error { return setLevel(c, level) }

// Flag is a flag of serve that sets a key.
type Flag struct {
	Name, Help string
	// Key is the setting that the flag sets.
	Key string
}

// Flags returns the flags, in the order of config.yaml.
func Flags() []Flag {
	var flags []Flag
	for _, k := range keys() {
		if k.flag != "" {
			flags = append(flags, Flag{Name: k.flag, Help: k.help, Key: k.name})
		}
	}
	return flags
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
			textValue(func(c *Config) *string { return &c.Mesh.Name }),
		},
		{
			"node.data_dir", "data-dir", "directory of Raft's records and the node's id; empty keeps them in memory",
			textValue(func(c *Config) *string { return &c.Mesh.DataDir }),
		},
		{
			"node.keep_awake", "", "",
			boolean(func(c *Config) *bool { return &c.KeepAwake }),
		},
		{
			"http.listen", "http-listen", "address for HTTP",
			textValue(func(c *Config) *string { return &c.Mesh.HTTPListen }),
		},
		{
			"grpc.listen", "grpc-listen", "address for gRPC",
			textValue(func(c *Config) *string { return &c.Mesh.GRPCListen }),
		},
		{
			"grpc.reflection", "", "",
			boolean(func(c *Config) *bool { return &c.Mesh.Reflection }),
		},
		{
			"dashboard.enabled", "", "",
			boolean(func(c *Config) *bool { return &c.Mesh.Dashboard }),
		},
		{
			"metrics.enabled", "", "",
			boolean(func(c *Config) *bool { return &c.Mesh.Metrics }),
		},
		{
			"mesh.peer_listen", "peer-listen", "address for other members",
			textValue(func(c *Config) *string { return &c.Mesh.PeerListen }),
		},
		{
			"mesh.peer_advertise", "peer-advertise", "address at which other members reach peer-listen, if it differs",
			textValue(func(c *Config) *string { return &c.Mesh.PeerAdvertise }),
		},
		{
			"mesh.gossip_listen", "gossip-listen", "address for gossip, TCP and UDP",
			textValue(func(c *Config) *string { return &c.Mesh.GossipListen }),
		},
		{
			"mesh.gossip_advertise", "gossip-advertise", "address at which other members reach gossip-listen, if it differs",
			textValue(func(c *Config) *string { return &c.Mesh.GossipAdvertise }),
		},
		{
			"mesh.seeds", "seeds", "gossip addresses of the first members, comma-separated, the same on every node",
			list(func(c *Config) *[]string { return &c.Mesh.Seeds }),
		},
		{
			"mesh.cluster", "cluster", "name of the mesh",
			textValue(func(c *Config) *string { return &c.Mesh.Cluster }),
		},
		insecureKey(),
		{
			"mesh.hold_release", "", "",
			natural(func(c *Config) *uint32 { return &c.Mesh.HoldRelease }),
		},
		{
			"mesh.lease", "", "",
			duration(func(c *Config) *time.Duration { return &c.Mesh.Lease }),
		},
		{
			"mesh.seat_grace", "", "",
			duration(func(c *Config) *time.Duration { return &c.Mesh.SeatGrace }),
		},
		{
			"ring.partitions", "", "",
			integer(func(c *Config) *int { return &c.Mesh.Partitions }),
		},
		{
			"ring.replicas", "", "",
			integer(func(c *Config) *int { return &c.Mesh.Replicas }),
		},
		{
			"locks.default_ttl", "", "",
			duration(func(c *Config) *time.Duration { return &c.Mesh.DefaultTTL }),
		},
		{
			"locks.max_ttl", "", "",
			duration(func(c *Config) *time.Duration { return &c.Mesh.MaxTTL }),
		},
		{
			"locks.max_hold", "", "",
			duration(func(c *Config) *time.Duration { return &c.Mesh.MaxHold }),
		},
		{
			"locks.default_wait", "", "",
			duration(func(c *Config) *time.Duration { return &c.Mesh.DefaultWait }),
		},
		{
			"locks.max_wait", "", "",
			duration(func(c *Config) *time.Duration { return &c.Mesh.MaxWait }),
		},
		{
			"locks.max_waiters_per_key", "", "",
			integer(func(c *Config) *int { return &c.Mesh.MaxWaitersPerKey }),
		},
		{
			"locks.max_locks", "", "",
			integer(func(c *Config) *int { return &c.Mesh.MaxLocks }),
		},
		{"log.level", "log-level", "debug, info, warn or error", value{setLevel, getLevel}},
		{"log.format", "log-format", "text or json", value{setFormat, func(c *Config) any { return c.LogFormat }}},
		{
			"shutdown_timeout", "", "",
			duration(func(c *Config) *time.Duration { return &c.Mesh.ShutdownTimeout }),
		},
	}
}
