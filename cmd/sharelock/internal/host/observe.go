package host

import (
	"fmt"
	"io"
	"iter"
	"log/slog"
	"strings"

	"github.com/sgkandale/sharelock/cmd/sharelock/internal/config"
	"github.com/sgkandale/sharelock/cmd/sharelock/internal/text"
	"github.com/sgkandale/sharelock/internal/logtail"
	"github.com/sgkandale/sharelock/mesh"
)

// tailBytes is how much of the log a node keeps in memory, for sharelock debug.
const tailBytes = 256 << 10

// observe sets up a node's logger, whose level can be changed, and its files for debugging.
func (h *Host) observe(c *config.Config, from config.Origin) {
	tail := logtail.New(h.Stderr, tailBytes)
	level := new(slog.LevelVar)
	level.Set(c.LogLevel)
	c.Mesh.Logger, c.Mesh.LogLevel = newLogger(tail, level, c.LogFormat), level
	settings := c.YAML(from)
	c.Mesh.Debug = func() iter.Seq2[string, func(io.Writer) error] {
		return func(yield func(string, func(io.Writer) error) bool) {
			_ = yield("config.yaml", func(w io.Writer) error { _, err := io.WriteString(w, settings); return err }) &&
				yield("log.txt", func(w io.Writer) error { _, err := w.Write(tail.Bytes()); return err })
		}
	}
}

// toggleDebug switches between debug and the configured level.
func toggleDebug(c config.Config) {
	level := slog.LevelDebug
	if c.Mesh.LogLevel.Level() == slog.LevelDebug {
		level = max(c.LogLevel, slog.LevelInfo)
	}
	c.Mesh.LogLevel.Set(slog.LevelInfo)
	c.Mesh.Logger.Info("the log level was changed", "to", level, "by", "a signal")
	c.Mesh.LogLevel.Set(level)
}

// startBlock describes in one block where a node listens, what is protected, and what is open.
func startBlock(c config.Config, at mesh.Addrs) string {
	var b strings.Builder
	row := func(what, where, how string) {
		b.WriteString(strings.TrimRight(fmt.Sprintf("  %-7s %-22s %s", what, where, how), " ") + "\n")
	}
	fmt.Fprintf(&b, "node %s of the mesh %s\n", text.Printable(c.Mesh.Name), text.Printable(c.Mesh.Cluster))
	cert := c.Mesh.TLS.CertFile != "" || len(c.Mesh.TLS.Cert) > 0
	clients, members := tlsMode(c.Mesh.TLS.Clients, mesh.TLSOn, cert), tlsMode(c.Mesh.TLS.Members, mesh.TLSRequired, cert)
	row("HTTP", at.HTTP, protection(clients, "for clients"))
	row("gRPC", at.GRPC, protection(clients, "for clients"))
	row("peers", at.Peer, protection(members, "for members"))
	gossip := "encrypted if a key is set: see sharelock keyring list"
	if mode := fmt.Sprint(c.Mesh.GossipEncryption); mode == "off" {
		gossip = "OPEN: not encrypted"
	}
	row("gossip", at.Gossip, gossip)
	if c.Mesh.OpsListen != "" {
		row("ops", c.Mesh.OpsListen, "open: health, readiness and metrics only")
	}
	if c.Mesh.DebugListen != "" {
		row("pprof", c.Mesh.DebugListen, "OPEN: for those who debug")
	}
	auth := "OPEN: everyone may do everything"
	if c.Mesh.Auth.File != "" {
		auth = c.Mesh.Auth.File
	}
	row("auth", auth, "")
	audit := "off"
	if c.Audit.File != "" {
		audit = c.Audit.File
	}
	row("audit", audit, "")
	return b.String()
}

// tlsMode returns a mode of TLS, or its default.
func tlsMode(configured, withCertificate string, certificate bool) string {
	switch {
	case configured != "":
		return configured
	case certificate:
		return withCertificate
	}
	return mesh.TLSOff
}

// protection says what a mode of TLS means.
func protection(mode, whom string) string {
	switch mode {
	case mesh.TLSOff:
		return whom + ", OPEN: without TLS"
	case mesh.TLSMigrate:
		return whom + ", OPEN: with and without TLS (migrate)"
	}
	return whom + ", TLS " + mode
}

// newLogger returns the logger of a node.
func newLogger(w io.Writer, level slog.Leveler, format string) *slog.Logger {
	opts := &slog.HandlerOptions{Level: level}
	if format == "json" {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}
