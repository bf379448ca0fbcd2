package logbridge

import (
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"strings"
	"sync/atomic"

	"github.com/hashicorp/go-hclog"
)

// HCLog is a slog.Logger to which raft can write. Its level is that of the slog handler;
// SetLevel does nothing.
type HCLog struct {
	log     *slog.Logger
	name    string
	implied []any
	silent  *atomic.Bool // shared by all loggers derived from one NewHCLog, like filter
	filter  *filter
}

var _ hclog.Logger = (*HCLog)(nil)

// NewHCLog returns a logger for libraries that writes to l.
func NewHCLog(l *slog.Logger) *HCLog {
	return &HCLog{log: l, silent: new(atomic.Bool), filter: new(filter)}
}

// Silence drops everything from now on.
func (h *HCLog) Silence() { h.silent.Store(true) }

func hcLevel(level hclog.Level) slog.Level {
	l, ok := libraryLevel(strings.ToUpper(level.String()))
	if !ok {
		return slog.LevelInfo
	}
	return l
}

// Log writes a line at a level.
func (h *HCLog) Log(level hclog.Level, msg string, args ...any) {
	at := hcLevel(level)
	if level == hclog.Off || !h.enabled(at) {
		return
	}
	at = h.filter.level(at, msg)
	if h.name != "" {
		msg = h.name + ": " + msg
	}
	h.log.Log(context.Background(), at, msg, plainArgs(args)...)
}

func (h *HCLog) enabled(level slog.Level) bool {
	return !h.silent.Load() && h.log.Enabled(context.Background(), level)
}

// plainArgs resolves values of type hclog.Format.
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

func (h *HCLog) Trace(msg string, args ...any) { h.Log(hclog.Trace, msg, args...) }
func (h *HCLog) Debug(msg string, args ...any) { h.Log(hclog.Debug, msg, args...) }
func (h *HCLog) Info(msg string, args ...any)  { h.Log(hclog.Info, msg, args...) }
func (h *HCLog) Warn(msg string, args ...any)  { h.Log(hclog.Warn, msg, args...) }
func (h *HCLog) Error(msg string, args ...any) { h.Log(hclog.Error, msg, args...) }

func (h *HCLog) IsTrace() bool { return h.enabled(levelLibrary) }
func (h *HCLog) IsDebug() bool { return h.enabled(levelLibrary) }
func (h *HCLog) IsInfo() bool  { return h.enabled(slog.LevelDebug) }
func (h *HCLog) IsWarn() bool  { return h.enabled(slog.LevelDebug) }
func (h *HCLog) IsError() bool { return h.enabled(slog.LevelWarn) }

func (h *HCLog) ImpliedArgs() []any { return h.implied }
func (h *HCLog) Name() string       { return h.name }

func (h *HCLog) With(args ...any) hclog.Logger {
	return &HCLog{
		log:     h.log.With(plainArgs(args)...),
		name:    h.name,
		implied: append(append([]any(nil), h.implied...), args...),
		silent:  h.silent,
		filter:  h.filter,
	}
}

func (h *HCLog) Named(name string) hclog.Logger {
	if h.name != "" {
		name = h.name + "." + name
	}
	return h.ResetNamed(name)
}

func (h *HCLog) ResetNamed(name string) hclog.Logger {
	return &HCLog{log: h.log, name: name, implied: h.implied, silent: h.silent, filter: h.filter}
}

func (h *HCLog) SetLevel(hclog.Level) {}

func (h *HCLog) GetLevel() hclog.Level {
	for _, level := range []hclog.Level{hclog.Debug, hclog.Info, hclog.Error} {
		if h.enabled(hcLevel(level)) {
			return level
		}
	}
	return hclog.Off
}

func (h *HCLog) StandardLogger(*hclog.StandardLoggerOptions) *log.Logger {
	return NewLog(h.log)
}

func (h *HCLog) StandardWriter(*hclog.StandardLoggerOptions) io.Writer {
	return lineWriter{h.log, h.filter}
}
