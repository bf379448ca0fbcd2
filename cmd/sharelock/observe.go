package main

import (
	"fmt"
	"io"
	"iter"
	"log/slog"
	"strings"

	"github.com/sgkandale/sharelock/cmd/sharelock/internal/text"
	"github.com/sgkandale/sharelock/internal/logtail"
	"github.com/sgkandale/sharelock/mesh"
)

// tailBytes is how much of the log a node keeps in memory, for sharelock debug.
const tailBytes = 256 << 10

// observe gives a node its logger, whose level can be changed, and what else it knows for
// debugging.
func (a *app) observe(c *config, from map[string]string) {
	tail := logtail.New(a.stderr, tailBytes)
	level := new(slog.LevelVar)
	level.Set(c.logLevel)
	c.mesh.Logger, c.mesh.LogLevel = newLogger(tail, level, c.logFormat), level
	settings := c.yaml(from)
	c.mesh.Debug = func() iter.Seq2[string, func(io.Writer) error] {
		return func(yield func(string, func(io.Writer) error) bool) {
			_ = yield("config.yaml", func(w io.Writer) error { _, err := io.WriteString(w, settings); return err }) &&
				yield("log.txt", func(w io.Writer) error { _, err := w.Write(tail.Bytes()); return err })
		}
	}
}

// toggleDebug switches between debug and the configured level.
func toggleDebug(c config) {
	level := slog.LevelDebug
	if c.mesh.LogLevel.Level() == slog.LevelDebug {
		level = max(c.logLevel, slog.LevelInfo)
	}
	c.mesh.LogLevel.Set(slog.LevelInfo)
	c.mesh.Logger.Info("the log level was changed", "to", level, "by", "a signal")
	c.mesh.LogLevel.Set(level)
}

// startBlock says in one block where a node listens, what is protected, and what is open.
func startBlock(c config, at mesh.Addrs) string {
	var b strings.Builder
	row := func(what, where, how string) {
		b.WriteString(strings.TrimRight(fmt.Sprintf("  %-7s %-22s %s", what, where, how), " ") + "\n")
	}
	fmt.Fprintf(&b, "node %s of the mesh %s\n", text.Printable(c.mesh.Name), text.Printable(c.mesh.Cluster))
	cert := c.mesh.TLS.CertFile != "" || len(c.mesh.TLS.Cert) > 0
	clients, members := tlsMode(c.mesh.TLS.Clients, mesh.TLSOn, cert), tlsMode(c.mesh.TLS.Members, mesh.TLSRequired, cert)
	row("HTTP", at.HTTP, protection(clients, "for clients"))
	row("gRPC", at.GRPC, protection(clients, "for clients"))
	row("peers", at.Peer, protection(members, "for members"))
	gossip := "encrypted if a key is set: see sharelock keyring list"
	if mode := fmt.Sprint(c.mesh.GossipEncryption); mode == "off" {
		gossip = "OPEN: not encrypted"
	}
	row("gossip", at.Gossip, gossip)
	if c.mesh.OpsListen != "" {
		row("ops", c.mesh.OpsListen, "open: health, readiness and metrics only")
	}
	if c.mesh.DebugListen != "" {
		row("pprof", c.mesh.DebugListen, "OPEN: for those who debug")
	}
	auth := "OPEN: everyone may do everything"
	if c.mesh.Auth.File != "" {
		auth = c.mesh.Auth.File
	}
	row("auth", auth, "")
	audit := "off"
	if c.audit.File != "" {
		audit = c.audit.File
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
