package logbridge

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/sgkandale/sharelock/internal/virtual"
)

// logInto returns a logger whose lines have no time.
func logInto(b *bytes.Buffer, level slog.Level) *slog.Logger {
	return slog.New(slog.NewTextHandler(b, &slog.HandlerOptions{Level: level, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
}

func TestLog(t *testing.T) {
	for line, want := range map[string]string{
		"[WARN] memberlist: a thing":     `level=DEBUG msg="a thing"`,
		"[ERR] memberlist: b":            `level=WARN msg=b`,
		"[ERROR] c":                      `level=WARN msg=c`,
		"[INFO] memberlist: x: y":        `level=DEBUG msg="x: y"`,
		"[DEBUG] memberlist: chatter":    ``,
		"[unknown] d":                    `level=INFO msg="[unknown] d"`,
		"[WARN no bracket":               `level=INFO msg="[WARN no bracket"`,
		"plain text: with a colon":       `level=INFO msg="plain text: with a colon"`,
		"":                               `level=INFO msg=""`,
		"[ERR] Failed to shut down: why": `level=WARN msg="Failed to shut down: why"`,
	} {
		var b bytes.Buffer
		NewLog(logInto(&b, slog.LevelDebug)).Print(line)
		if got := strings.TrimSpace(b.String()); got != want {
			t.Errorf("%q is logged as %q, want %q", line, got, want)
		}
	}
}

func TestHCLog(t *testing.T) {
	var b bytes.Buffer
	l := NewHCLog(logInto(&b, slog.LevelInfo))
	child := l.Named("raft").With("id", 7).Named("net")
	child.Debug("not seen", "x", 1)
	child.Trace("not seen")
	child.Error("vote", "term", 3, "text", hclog.Fmt("%d of %d", 1, 2), "error", errors.New("why"))
	child.Log(hclog.Off, "not seen")
	child.StandardLogger(nil).Print("[ERR] from the standard logger")
	_, _ = child.StandardWriter(nil).Write([]byte("[ERR] from the writer\n"))
	want := `level=WARN msg="raft.net: vote" id=7 term=3 text="1 of 2" error=why
level=WARN msg="from the standard logger" id=7
level=WARN msg="from the writer" id=7
`
	if b.String() != want {
		t.Errorf("log is\n%swant\n%s", b.String(), want)
	}
	if child.Name() != "raft.net" || len(child.ImpliedArgs()) != 2 || l.Name() != "" || len(l.ImpliedArgs()) != 0 {
		t.Errorf("child %q %v, parent %q %v", child.Name(), child.ImpliedArgs(), l.Name(), l.ImpliedArgs())
	}
}

func TestHCLogLevels(t *testing.T) {
	for level, want := range map[slog.Level]hclog.Level{
		levelLibrary: hclog.Debug, slog.LevelDebug: hclog.Info, slog.LevelInfo: hclog.Error,
		slog.LevelWarn: hclog.Error, slog.LevelError: hclog.Off,
	} {
		l := NewHCLog(logInto(new(bytes.Buffer), level))
		l.SetLevel(hclog.Trace) // does nothing
		if got := l.GetLevel(); got != want {
			t.Errorf("level %v is %v, want %v", level, got, want)
		}
		for name, on := range map[hclog.Level]bool{
			hclog.Debug: l.IsDebug(), hclog.Info: l.IsInfo(), hclog.Warn: l.IsWarn(), hclog.Error: l.IsError(),
		} {
			if on != (name >= want) {
				t.Errorf("level %v: %v is on: %t", level, name, on)
			}
		}
		if l.IsTrace() != l.IsDebug() {
			t.Errorf("level %v: trace %t, debug %t", level, l.IsTrace(), l.IsDebug())
		}
	}
}

// The node itself reports a peer that is away, so the library's line is not shown. Any other error is shown
// once a minute.
func TestHeldBack(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		var b bytes.Buffer
		l := NewHCLog(logInto(&b, slog.LevelInfo))
		for i := range 100 {
			l.Error("failed to heartbeat to", "peer", "3345e8a68b2dc1a0")
			l.Error("cannot write", "index", i)
			NewLog(logInto(&b, slog.LevelInfo)).Print("[ERR] memberlist: Push/Pull with 3345e8a68b2dc1a0 failed: EOF")
		}
		time.Sleep(time.Minute)
		l.Error("cannot write", "index", 100)
		want := "level=WARN msg=\"cannot write\" index=0\nlevel=WARN msg=\"cannot write\" index=100\n"
		if b.String() != want {
			t.Errorf("log is\n%swant\n%s", b.String(), want)
		}
	})
}
