package gossip

import (
	"errors"
	"log/slog"
	"net"
	"os"
	"testing"
	"time"
)

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// stragglers is the longest that a probe of memberlist goes on after its
// Shutdown, which does not wait: the probe interval times the awareness limit.
// A bubble must not end before, because its time stands still once it ends.
const stragglers = 8 * defaultUnit

// eventually waits in virtual time.
func eventually(t *testing.T, within time.Duration, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(within); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", within, what)
		}
	}
}

// expectDropped checks that a stream ends within a time.
func expectDropped(t *testing.T, c net.Conn, within time.Duration) {
	t.Helper()
	start := time.Now()
	_ = c.SetReadDeadline(start.Add(within + time.Second))
	n, err := c.Read(make([]byte, 1))
	if n != 0 || err == nil || errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) > within {
		t.Errorf("read %d, %v after %v, want the end within %v", n, err, time.Since(start), within)
	}
}
