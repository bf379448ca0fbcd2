package host

import (
	"io"
	"log/slog"
	"net"
	"testing"

	"github.com/sgkandale/sharelock/cmd/sharelock/internal/config"
)

func TestToggleDebug(t *testing.T) {
	for _, configured := range []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn} {
		h := &Host{Stderr: io.Discard}
		c := config.Default()
		c.LogLevel = configured
		h.observe(&c, nil)
		before := c.Mesh.LogLevel.Level()
		toggleDebug(c)
		if got := c.Mesh.LogLevel.Level(); (got == slog.LevelDebug) == (before == slog.LevelDebug) {
			t.Errorf("from %v to %v", before, got)
		}
		toggleDebug(c)
		if got := c.Mesh.LogLevel.Level(); got != configured {
			t.Errorf("configured %v, and after two signals %v", configured, got)
		}
	}
}

// Held ports cannot be used by others until they are released.
func TestPorts(t *testing.T) {
	addr := freeAddr(t)
	var p ports
	p.hold(addr)
	p.hold(addr) // in use: there is nothing to hold
	if l, err := net.Listen("tcp", addr); err == nil {
		_ = l.Close()
		t.Error("another could listen on a port that is held")
	}
	if c, err := net.ListenPacket("udp", addr); err == nil {
		_ = c.Close()
		t.Error("another could bind a port that is held")
	}
	p.free()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
}

// freeAddr returns an address at which nobody listens.
func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
