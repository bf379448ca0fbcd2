// Package audit writes the audit log: JSON lines that say who did what, from where, and with
// which result.
//
// One goroutine writes. A disk that is full, slow or hanging costs lines, never a lock: a caller
// waits at most [Wait] for its line, and not at all while the disk is known to hang. Lost lines
// are counted ([Log.Dropped]), and a line in the log itself marks where they are missing.
package audit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// Wait is the longest that a call waits until its line is written.
	Wait = 100 * time.Millisecond
	// Stderr as Config.File writes to Config.Stderr.
	Stderr = "stderr"
	// MinBytes is the smallest Config.MaxBytes: smaller files would be rotated all the time.
	MinBytes = 1 << 20
	// MaxKeep is the largest Config.Keep.
	MaxKeep = 1000

	// queueLines bounds the lines that wait for the writer. callLines of them may be those of
	// ordinary calls, so that a denial finds room beside them.
	queueLines = 4096
	callLines  = queueLines * 3 / 4
	// closeTime is how long Close waits for a disk that hangs.
	closeTime = time.Second
)

// Config is what a Log needs to know.
type Config struct {
	// File is the path of the log, or Stderr. Empty means no audit log.
	File string
	// MaxBytes is the size at which the file is rotated, and Keep is how many rotated files are
	// kept: File.1 is the newest. MaxBytes 0 never rotates.
	MaxBytes int64
	Keep     int
	// Calls also writes ordinary acquires and releases.
	Calls bool
	// Node is the name of this node.
	Node string
	// Stderr is used if File is Stderr.
	Stderr io.Writer
	// Log is told when lines are lost and when that ends; nil drops it.
	Log *slog.Logger
}

// Validate returns an error that names every bad field by its configuration key.
func (c Config) Validate() error {
	var errs []error
	if c.MaxBytes != 0 && c.MaxBytes < MinBytes {
		errs = append(errs, fmt.Errorf("audit.max_bytes is %d: want at least %d, or 0 to never rotate", c.MaxBytes, MinBytes))
	}
	if c.Keep < 0 || c.Keep > MaxKeep {
		errs = append(errs, fmt.Errorf("audit.keep is %d: want 0 to %d", c.Keep, MaxKeep))
	}
	if c.Calls && c.File == "" {
		errs = append(errs, errors.New("audit.calls needs audit.file"))
	}
	return errors.Join(errs...)
}

// sink is where the lines go. Only the writer's goroutine uses it after Open.
type sink interface {
	io.Writer
	// Reopen opens the file again by its name.
	Reopen() error
	Close() error
}

// Log is an audit log. A nil *Log writes nothing. All methods are safe for concurrent use.
type Log struct {
	cfg Config
	// queue carries lines to the writer. It is never closed.
	queue  chan entry
	reopen chan struct{} // capacity 1
	// closing is closed by Close, and ended when the writer has returned.
	closing, ended chan struct{}
	close          sync.Once
	// hangs is set when a caller's wait has timed out, and cleared when the writer makes progress. While
	// it is set, callers do not wait.
	hangs   atomic.Bool
	dropped atomic.Uint64
	denials denials

	mu  sync.Mutex // guards gap
	gap gap
}

// entry is a queued event. written is closed when the writer is done with it; it is nil if no caller
// waits.
type entry struct {
	event   Event
	written chan struct{}
}

// Open opens the log and starts its writer. It returns nil if cfg.File is empty.
func Open(cfg Config) (*Log, error) {
	if cfg.File == "" {
		return nil, nil //nolint:nilnil // a nil Log is one that is off
	}
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	var out sink = stream{cfg.Stderr}
	if cfg.File != Stderr {
		f, err := openFile(cfg.File, cfg.MaxBytes, cfg.Keep)
		if err != nil {
			return nil, fmt.Errorf("audit.file: %w", err)
		}
		out = f
	}
	return start(cfg, out), nil
}

// start starts the writer of a log into out.
func start(cfg Config, out sink) *Log {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	l := &Log{
		cfg: cfg, queue: make(chan entry, queueLines), reopen: make(chan struct{}, 1),
		closing: make(chan struct{}), ended: make(chan struct{}),
	}
	go (&writer{log: l, out: out}).run()
	return l
}

// Record writes an event. It returns when the line is written, when it is lost, when [Wait] is
// over, or when ctx ends; in the last two cases the line is still in the queue.
func (l *Log) Record(ctx context.Context, e Event) {
	if l == nil {
		return
	}
	written := make(chan struct{})
	if !l.enqueue(entry{l.complete(e), written}, queueLines) || l.hangs.Load() {
		return
	}
	timer := time.NewTimer(Wait)
	defer timer.Stop()
	select {
	case <-written:
	case <-ctx.Done():
	case <-l.ended:
	case <-timer.C:
		if l.hangs.CompareAndSwap(false, true) {
			l.cfg.Log.Error("the audit log does not take a line: calls no longer wait for it", "file", l.cfg.File, "after", Wait)
		}
	}
}

// Calls reports whether ordinary acquires and releases are written.
func (l *Log) Calls() bool { return l != nil && l.cfg.Calls }

// Call writes the event of an ordinary acquire or release if Config.Calls is set. It never waits.
func (l *Log) Call(e Event) {
	if l.Calls() {
		l.enqueue(entry{event: l.complete(e)}, callLines)
	}
}

// complete fills in what every event has.
func (l *Log) complete(e Event) Event {
	e.Time, e.Node = time.Now().UTC(), l.cfg.Node
	return e.clipped()
}

// enqueue passes an entry to the writer if fewer than most entries wait. Otherwise the entry is
// lost.
func (l *Log) enqueue(e entry, most int) bool {
	select {
	case <-l.closing:
		l.lose(1, "the node stops")
		return false
	default:
	}
	if len(l.queue) < most {
		select {
		case l.queue <- e:
			return true
		default:
		}
	}
	l.lose(1, "more lines than the disk takes")
	return false
}

// lose counts lines that are lost.
func (l *Log) lose(lines int, why string) {
	if lines == 0 {
		return
	}
	l.dropped.Add(uint64(max(lines, 0)))
	l.putGap(gap{uint64(max(lines, 0)), time.Now().UTC(), why})
}

func (l *Log) putGap(g gap) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.gap.add(g)
}

// takeGap returns what was lost and not marked yet, and forgets it.
func (l *Log) takeGap() gap {
	l.mu.Lock()
	defer l.mu.Unlock()
	g := l.gap
	l.gap = gap{}
	return g
}

// Dropped returns the number of lines that were lost since Open.
func (l *Log) Dropped() uint64 {
	if l == nil {
		return 0
	}
	return l.dropped.Load()
}

// Reopen makes the writer open the file again by its name, after another program has moved it
// away. It does not wait for that.
func (l *Log) Reopen() {
	if l == nil {
		return
	}
	select {
	case l.reopen <- struct{}{}:
	default: // the writer has yet to do it
	}
}

// Close writes what is in the queue and closes the file. If the disk hangs, Close returns an
// error after a second; the writer's goroutine then ends when the disk lets it go.
func (l *Log) Close() error {
	if l == nil {
		return nil
	}
	l.close.Do(func() { close(l.closing) })
	timer := time.NewTimer(closeTime)
	defer timer.Stop()
	select {
	case <-l.ended:
		return nil
	case <-timer.C:
		return fmt.Errorf("audit.file: %s does not take the last %d lines", l.cfg.File, len(l.queue))
	}
}
