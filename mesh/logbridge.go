package mesh

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"strings"
	"sync/atomic"

	"github.com/hashicorp/go-hclog"
)

// levelLibrary is where the libraries' own debug lines go: below our debug level,
// since they write several lines a second on an idle node.
const levelLibrary = slog.LevelDebug - 4

// libraryLevel reads a level as the libraries print it in front of a line, and
// takes it one step lower: what is an error to a library, a connection that
// closes, is ordinary in a mesh, and what matters of it the node says itself.
func libraryLevel(name string) (slog.Level, bool) {
	switch name {
	case "TRACE", "DEBUG":
		return levelLibrary, true
	case "INFO":
		return slog.LevelDebug, true
	case "WARN", "WARNING":
		return slog.LevelInfo, true
	case "ERR", "ERROR":
		return slog.LevelWarn, true
	default:
		return 0, false
	}
}

// newLogLogger is a log.Logger for a library that writes its level into the
// line, as in "[WARN] memberlist: ...".
func newLogLogger(l *slog.Logger) *log.Logger { return log.New(lineWriter{l}, "", 0) }

// lineWriter passes lines on to slog.
type lineWriter struct{ log *slog.Logger }

// Write takes one line; it is safe for concurrent use.
func (w lineWriter) Write(p []byte) (int, error) {
	line := string(bytes.TrimRight(p, "\n"))
	level := slog.LevelInfo
	if rest, ok := strings.CutPrefix(line, "["); ok {
		if name, text, ok := strings.Cut(rest, "] "); ok {
			if l, known := libraryLevel(name); known {
				level, line = l, text
			}
		}
	}
	if i := strings.Index(line, ": "); i > 0 && !strings.Contains(line[:i], " ") {
		line = line[i+2:] // the library's name is an attribute of the logger
	}
	w.log.Log(context.Background(), level, line)
	return len(p), nil
}

// hcLog is a slog.Logger that raft can write to. Its level is that of the
// slog handler; SetLevel does nothing.
type hcLog struct {
	log     *slog.Logger
	name    string
	implied []any
	silent  *atomic.Bool // shared by all that come of one newHCLog
}

var _ hclog.Logger = (*hcLog)(nil)

func newHCLog(l *slog.Logger) *hcLog { return &hcLog{log: l, silent: new(atomic.Bool)} }

// silence drops everything from now on.
func (h *hcLog) silence() { h.silent.Store(true) }

func hcLevel(level hclog.Level) slog.Level {
	l, ok := libraryLevel(strings.ToUpper(level.String()))
	if !ok {
		return slog.LevelInfo
	}
	return l
}

// Log writes a line at a level.
func (h *hcLog) Log(level hclog.Level, msg string, args ...any) {
	at := hcLevel(level)
	if level == hclog.Off || !h.enabled(at) {
		return
	}
	if h.name != "" {
		msg = h.name + ": " + msg
	}
	h.log.Log(context.Background(), at, msg, plainArgs(args)...)
}

func (h *hcLog) enabled(level slog.Level) bool {
	return !h.silent.Load() && h.log.Enabled(context.Background(), level)
}

// plainArgs resolves hclog's own kind of value.
func plainArgs(args []any) []any {
	var plain []any
	for i, arg := range args {
		f, ok := arg.(hclog.Format)
		if !ok || len(f) == 0 {
			continue
		}
		if plain == nil {
			plain = append([]any(nil), args...)
		}
		plain[i] = fmt.Sprintf(fmt.Sprint(f[0]), f[1:]...)
	}
	if plain == nil {
		return args
	}
	return plain
}

func (h *hcLog) Trace(msg string, args ...any) { h.Log(hclog.Trace, msg, args...) }
func (h *hcLog) Debug(msg string, args ...any) { h.Log(hclog.Debug, msg, args...) }
func (h *hcLog) Info(msg string, args ...any)  { h.Log(hclog.Info, msg, args...) }
func (h *hcLog) Warn(msg string, args ...any)  { h.Log(hclog.Warn, msg, args...) }
func (h *hcLog) Error(msg string, args ...any) { h.Log(hclog.Error, msg, args...) }

func (h *hcLog) IsTrace() bool { return h.enabled(levelLibrary) }
func (h *hcLog) IsDebug() bool { return h.enabled(levelLibrary) }
func (h *hcLog) IsInfo() bool  { return h.enabled(slog.LevelDebug) }
func (h *hcLog) IsWarn() bool  { return h.enabled(slog.LevelInfo) }
func (h *hcLog) IsError() bool { return h.enabled(slog.LevelWarn) }

func (h *hcLog) ImpliedArgs() []any { return h.implied }
func (h *hcLog) Name() string       { return h.name }

func (h *hcLog) With(args ...any) hclog.Logger {
	return &hcLog{
		log:     h.log.With(plainArgs(args)...),
		name:    h.name,
		implied: append(append([]any(nil), h.implied...), args...),
		silent:  h.silent,
	}
}

func (h *hcLog) Named(name string) hclog.Logger {
	if h.name != "" {
		name = h.name + "." + name
	}
	return h.ResetNamed(name)
}

func (h *hcLog) ResetNamed(name string) hclog.Logger {
	return &hcLog{log: h.log, name: name, implied: h.implied, silent: h.silent}
}

func (h *hcLog) SetLevel(hclog.Level) {}

func (h *hcLog) GetLevel() hclog.Level {
	for _, level := range []hclog.Level{hclog.Debug, hclog.Info, hclog.Warn, hclog.Error} {
		if h.enabled(hcLevel(level)) {
			return level
		}
	}
	return hclog.Off
}

func (h *hcLog) StandardLogger(*hclog.StandardLoggerOptions) *log.Logger {
	return newLogLogger(h.log)
}

func (h *hcLog) StandardWriter(*hclog.StandardLoggerOptions) io.Writer {
	return lineWriter{h.log}
}
