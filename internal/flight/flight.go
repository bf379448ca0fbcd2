// Package flight keeps an execution trace of the last seconds in memory, and writes it to a file
// when a node is in trouble: what led to that is in it, for 'go tool trace'.
package flight

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/trace"
	"slices"
	"sync"
	"time"
)

const (
	// age is how much of the past is kept at least, and maxBytes bounds its size.
	age      = 10 * time.Second
	maxBytes = 16 << 20
	// every is the shortest time between two files, and keep is how many files are kept.
	every = time.Minute
	keep  = 5
	// prefix and suffix are those of the names of the files.
	prefix, suffix = "flight-", ".trace"
)

// Recorder records until Stop. There can be one in a process. All methods are safe for concurrent
// use; those of a nil *Recorder do nothing.
type Recorder struct {
	dir string
	log *slog.Logger
	fr  *trace.FlightRecorder
	// wanted carries why a file is wanted; capacity 1. closing ends the writer, which closes ended.
	wanted         chan string
	closing, ended chan struct{}
	once           sync.Once
}

// Start begins to record. The files go into dir.
func Start(dir string, log *slog.Logger) (*Recorder, error) {
	r := &Recorder{
		dir: dir, log: log, fr: trace.NewFlightRecorder(trace.FlightRecorderConfig{MinAge: age, MaxBytes: maxBytes}),
		wanted: make(chan string, 1), closing: make(chan struct{}), ended: make(chan struct{}),
	}
	if err := r.fr.Start(); err != nil {
		return nil, fmt.Errorf("flight recorder: %w", err)
	}
	go r.run()
	return r, nil
}

// Want asks for a file because of why. It does not wait. A file that is wanted within a minute of the
// last one is not written.
func (r *Recorder) Want(why string) {
	if r == nil {
		return
	}
	select {
	case r.wanted <- why:
	default: // one is wanted already
	}
}

// Stop ends the recording. It may be called again.
func (r *Recorder) Stop() {
	if r == nil {
		return
	}
	r.once.Do(func() { close(r.closing) })
	<-r.ended
}

// run writes the files that are wanted.
func (r *Recorder) run() {
	defer close(r.ended)
	defer r.fr.Stop()
	var last time.Time
	for {
		select {
		case <-r.closing:
			return
		case why := <-r.wanted:
			if !last.IsZero() && time.Since(last) < every {
				continue
			}
			last = time.Now()
			path, err := r.write(last)
			if err != nil {
				r.log.Warn("the flight recorder has not written a trace", "why", why, "error", err)
				continue
			}
			r.log.Info("the flight recorder has written a trace", "why", why, "file", path)
		}
	}
}

// write writes one file, and removes those that are too many.
func (r *Recorder) write(now time.Time) (path string, err error) {
	path = filepath.Join(r.dir, prefix+now.UTC().Format("20060102-150405.000")+suffix)
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", err
	}
	_, err = r.fr.WriteTo(f)
	if closing := f.Close(); err == nil {
		err = closing
	}
	r.thin()
	return path, err
}

// thin removes the oldest files.
func (r *Recorder) thin() {
	files, err := filepath.Glob(filepath.Join(r.dir, prefix+"*"+suffix))
	if err != nil || len(files) <= keep {
		return
	}
	slices.Sort(files) // by their times
	for _, old := range files[:len(files)-keep] {
		_ = os.Remove(old) // the next file tries again
	}
}
