package client

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// mostLogged is how many records wait for a logger that is slow.
const mostLogged = 256

// logTime is how long Close waits for a logger that blocks.
const logTime = time.Second

// logQueue hands records to a logger of the user's in a goroutine of its own: a logger that
// blocks must hold up neither the keeper, which ends locks, nor the reader of a session. When
// it is full, records are dropped and counted, and the count is logged as soon as there is
// room. A nil logQueue drops everything.
type logQueue struct {
	to   *slog.Logger
	wake chan struct{}
	done chan struct{}

	mu      sync.Mutex
	records []slog.Record // guarded by mu
	dropped uint64        // since the count was logged; guarded by mu
	running bool          // the goroutine is there; guarded by mu
	closed  bool          // guarded by mu
}

// newLogQueue returns the queue of a logger; nil if there is none.
func newLogQueue(to *slog.Logger) *logQueue {
	if to == nil {
		return nil
	}
	return &logQueue{to: to, wake: make(chan struct{}, 1), done: make(chan struct{})}
}

func (q *logQueue) debug(text string, args ...any) { q.add(slog.LevelDebug, text, args) }
func (q *logQueue) warn(text string, args ...any)  { q.add(slog.LevelWarn, text, args) }

// add never blocks, and calls nothing of the user's.
func (q *logQueue) add(level slog.Level, text string, args []any) {
	if q == nil {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.closed:
		return
	case len(q.records) >= mostLogged:
		q.dropped++
		return
	}
	r := slog.NewRecord(time.Now(), level, text, 0)
	r.Add(args...)
	q.records = append(q.records, r)
	if !q.running {
		q.running = true
		go q.run()
	}
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// run hands on what waits, until the queue is closed and empty.
func (q *logQueue) run() {
	defer close(q.done)
	for {
		q.mu.Lock()
		records, dropped, closed := q.records, q.dropped, q.closed
		q.records, q.dropped = nil, 0
		q.mu.Unlock()
		for _, r := range records {
			if ctx, h := context.Background(), q.to.Handler(); h.Enabled(ctx, r.Level) {
				_ = h.Handle(ctx, r) // as slog itself does
			}
		}
		if dropped > 0 {
			q.to.Warn("log records were dropped because the logger was too slow", "records", dropped)
		}
		if closed {
			return
		}
		<-q.wake
	}
}

// close takes no more records and waits until those that wait are logged, but not long for a
// logger that blocks.
func (q *logQueue) close() {
	if q == nil {
		return
	}
	q.mu.Lock()
	q.closed = true
	running := q.running
	q.mu.Unlock()
	if !running {
		return
	}
	select {
	case q.wake <- struct{}{}:
	default:
	}
	t := time.NewTimer(logTime)
	defer t.Stop()
	select {
	case <-q.done:
	case <-t.C:
	}
}
