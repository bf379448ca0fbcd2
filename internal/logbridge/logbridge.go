// Package logbridge lets libraries that bring a logger of their own write to a slog.Logger:
// memberlist uses a log.Logger, raft an hclog.Logger.
//
// What a library logs as a warning, a closed connection or an election, is ordinary in a mesh.
// The node itself logs what matters of it, with the names of nodes instead of their ids. So only
// the errors of libraries are logged, as warnings: not those of connections to other processes,
// and each kind of line at most once a minute. All other lines have the level debug or below.
package logbridge

import (
	"bytes"
	"context"
	"log"
	"log/slog"
	"strings"

	"github.com/sgkandale/sharelock/internal/seldom"
)

// levelLibrary is the level of the libraries' own debug lines. It is below debug, because they
// write several lines a second on an idle node.
const levelLibrary = slog.LevelDebug - 4

// libraryLevel returns our level for a level as the libraries print it in front of a line.
func libraryLevel(name string) (slog.Level, bool) {
	switch name {
	case "TRACE", "DEBUG":
		return levelLibrary, true
	case "INFO", "WARN", "WARNING":
		return slog.LevelDebug, true
	case "ERR", "ERROR":
		return slog.LevelWarn, true
	default:
		return 0, false
	}
}

// ordinary lists the beginnings of errors that only say that another process is gone or closes
// a connection. The libraries repeat them several times a second while it is away.
var ordinary = []string{
	"failed to heartbeat to", "failed to appendEntries to", "failed to make requestVote RPC", "failed to pipeline appendEntries",
	"failed to start pipeline replication", "failed to decode incoming command", "failed to flush response", "failed to send snapshot to",
	"failed to install snapshot", "failed to take leadership transfer", "failed to make timeoutNow RPC",
	"Push/Pull with", "Failed fallback", "Failed to send", "Failed to receive", "failed to receive", "Failed push/pull", "Failed to join",
	"Failed TCP fallback", "Failed UDP ping", "Stream connection", "Failed to accept",
}

// foreign lists the beginnings of memberlist's lines about processes of other meshes.
var foreign = []string{"discarding stream with unacceptable label", "discarding packet with unacceptable label"}

// translate returns a line in words for operators.
func translate(text string) string {
	for _, begin := range foreign {
		if strings.HasPrefix(text, begin) {
			_, from, _ := strings.Cut(text, "from=")
			return "a process of another mesh tries to join: its mesh.cluster differs: from " + from
		}
	}
	return text
}

// filter decides which lines of a library are logged, and how often.
type filter struct{ kinds seldom.Log }

// level returns the level of a line.
func (f *filter) level(level slog.Level, text string) slog.Level {
	if level < slog.LevelWarn {
		return level
	}
	for _, begin := range ordinary {
		if strings.HasPrefix(text, begin) {
			return slog.LevelDebug
		}
	}
	if !f.kinds.Allow(kind(text)) {
		return slog.LevelDebug
	}
	return level
}

// kind returns the part of a line before the first name or number.
func kind(text string) string {
	if i := strings.IndexAny(text, ":=0123456789"); i > 0 {
		return text[:i]
	}
	return text
}

// NewLog returns a log.Logger for a library that writes its level into the
// line, as in "[WARN] memberlist: ...".
func NewLog(l *slog.Logger) *log.Logger { return log.New(lineWriter{l, new(filter)}, "", 0) }

// lineWriter writes lines to slog.
type lineWriter struct {
	log    *slog.Logger
	filter *filter
}

// Write logs one line. It is safe for concurrent use.
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
	line = translate(line)
	w.log.Log(context.Background(), w.filter.level(level, line), line)
	return len(p), nil
}
