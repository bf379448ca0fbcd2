package cluster

import (
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"
)

// keptLines is how many log lines of each node a failed test prints.
const keptLines = 150

// logs keeps the last lines of every node. Each node has its own buffer, so that one with
// many lines does not evict those of the others.
type logs struct {
	start time.Time
	level slog.Level

	mu  sync.Mutex
	out io.Writer // guarded by mu
	// rings holds the nodes' lines, by index. Guarded by mu.
	rings map[int][]logLine
}

type logLine struct {
	at   time.Time
	text string
}

func newLogs(o Options, start time.Time) *logs {
	return &logs{start: start, level: o.LogLevel, out: o.Logs, rings: map[int][]logLine{}}
}

// of returns the logger of a node. Its times count from the start of the cluster.
func (l *logs) of(index int) *slog.Logger {
	return slog.New(slog.NewTextHandler(logWriter{l, index}, &slog.HandlerOptions{
		Level: l.level,
		ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) == 0 && a.Key == slog.TimeKey && a.Value.Kind() == slog.KindTime {
				return slog.Duration("at", a.Value.Time().Sub(l.start).Round(time.Microsecond))
			}
			return a
		},
	}))
}

type logWriter struct {
	logs  *logs
	index int
}

// Write stores one line; slog's handlers write one line a call.
func (w logWriter) Write(p []byte) (int, error) {
	l := w.logs
	l.mu.Lock()
	defer l.mu.Unlock()
	ring := append(l.rings[w.index], logLine{time.Now(), string(p)})
	if len(ring) > 2*keptLines {
		ring = slices.Clone(ring[keptLines:])
	}
	l.rings[w.index] = ring
	if l.out != nil {
		return l.out.Write(p)
	}
	return len(p), nil
}

// last returns the last lines of all nodes, merged by time.
func (l *logs) last() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []logLine
	for _, ring := range l.rings {
		all = append(all, ring[max(len(ring)-keptLines, 0):]...)
	}
	slices.SortStableFunc(all, func(a, b logLine) int { return a.at.Compare(b.at) })
	var b strings.Builder
	for _, line := range all {
		b.WriteString(line.text)
	}
	return b.String()
}
