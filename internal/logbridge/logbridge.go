// Package logbridge lets libraries write to a slog.Logger that bring a logger of their own:
// memberlist a log.Logger, raft an hclog.Logger.
//
// What a library logs is taken one level lower: what is an error to a library, a connection that
// closes, is ordinary in a mesh, and what matters of it the node says itself.
package logbridge

import (
	"bytes"
	"context"
	"log"
	"log/slog"
	"strings"
)

// levelLibrary is where the libraries' own debug lines go: below our debug level,
// since they write several lines a second on an idle node.
const levelLibrary = slog.LevelDebug - 4

// libraryLevel reads a level as the libraries print it in front of a line, and
// returns the one below it.
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

// NewLog returns a log.Logger for a library that writes its level into the
// line, as in "[WARN] memberlist: ...".
func NewLog(l *slog.Logger) *log.Logger { return log.New(lineWriter{l}, "", 0) }

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
