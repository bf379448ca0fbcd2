package audit

import (
	"bytes"
	"time"
)

const (
	// batchBytes is the size at which lines are written together.
	batchBytes = 64 << 10
	// retryEvery is how often a writer that has lost lines tries to mark the gap, and how often a
	// broken file is opened again.
	retryEvery = time.Second
)

// writer writes the lines of a log. Everything in it belongs to its one goroutine.
type writer struct {
	log *Log
	out sink

	buf   []byte
	ends  []int // where the lines of the batch end in buf
	batch []entry
	// torn is set while the file ends in a part of a line.
	torn bool
	// broken is set after a failed write, until one succeeds.
	broken   bool
	brokenAt time.Time // when the file was last opened again
	began    time.Time // when writing failed
}

// run writes until the log is closed.
func (w *writer) run() {
	defer close(w.log.ended)
	defer w.out.Close() //nolint:errcheck // there is nobody to tell
	retry := time.NewTicker(retryEvery)
	defer retry.Stop()
	for {
		select {
		case e := <-w.log.queue:
			w.write(&e)
		case <-w.log.reopen:
			w.reopen()
		case <-retry.C:
			w.summarise(false)
			w.markGap()
		case <-w.log.closing:
			w.drain()
			return
		}
	}
}

// summarise writes lines for the denials that were left out.
func (w *writer) summarise(everything bool) {
	for _, e := range w.log.denials.summaries(time.Now(), everything) {
		w.write(&entry{event: w.log.complete(e)})
	}
}

// drain writes what is left when the log is closed.
func (w *writer) drain() {
	w.summarise(true)
	for {
		select {
		case e := <-w.log.queue:
			w.write(&e)
		default:
			w.markGap()
			return
		}
	}
}

// markGap writes a gap line if lines were lost, although no other line comes.
func (w *writer) markGap() {
	w.log.mu.Lock()
	lost := w.log.gap.lines > 0
	w.log.mu.Unlock()
	if lost {
		w.write(nil)
	}
}

// write writes the lines for what was lost, the first entry, and all other entries that wait, together.
func (w *writer) write(first *entry) {
	w.buf, w.ends, w.batch = w.buf[:0], w.ends[:0], w.batch[:0]
	if w.torn {
		w.buf = append(w.buf, '\n')
	}
	lost := w.log.takeGap()
	if lost.lines > 0 {
		w.buf = appendLine(w.buf, gapLine{time.Now().UTC(), w.log.cfg.Node, true, lost.lines, lost.since, lost.why})
	}
	marked := len(w.buf) // the gap line is on disk when that much is
	if first != nil {
		w.add(*first)
	}
	w.collect()
	if w.broken {
		w.repair()
	}
	n, err := w.out.Write(w.buf)
	if err != nil && n < marked {
		w.log.putGap(lost)
	}
	w.settle(n, err)
}

// add appends an entry to the batch.
func (w *writer) add(e entry) {
	w.buf = appendLine(w.buf, e.event)
	w.ends = append(w.ends, len(w.buf))
	w.batch = append(w.batch, e)
}

// collect appends the entries that wait, while they fit.
func (w *writer) collect() {
	for len(w.buf) < batchBytes {
		select {
		case e := <-w.log.queue:
			w.add(e)
		default:
			return
		}
	}
}

// settle is told how much of the batch was written.
func (w *writer) settle(n int, err error) {
	if n > 0 {
		w.torn = !bytes.HasSuffix(w.buf[:n], []byte("\n"))
	}
	if err != nil {
		lines := 0
		for _, end := range w.ends {
			if end > n {
				lines++
			}
		}
		w.log.lose(lines, err.Error())
		w.fail(err)
	} else if w.broken {
		w.broken = false
		w.log.cfg.Log.Info("the audit log is written again", "file", w.log.cfg.File, "after", time.Since(w.began), "dropped", w.log.Dropped())
	}
	w.log.hangs.Store(false)
	for i := range w.batch {
		if w.batch[i].written != nil {
			close(w.batch[i].written)
		}
		w.batch[i] = entry{} // lets go of its texts
	}
}

// fail reports the first of several failures.
func (w *writer) fail(err error) {
	if w.broken {
		return
	}
	w.broken, w.began, w.brokenAt = true, time.Now(), time.Now()
	w.log.cfg.Log.Error("the audit log loses lines: is the disk full?", "file", w.log.cfg.File, "error", err)
}

// repair opens a broken file again from time to time.
func (w *writer) repair() {
	if time.Since(w.brokenAt) < retryEvery {
		return
	}
	w.brokenAt = time.Now()
	_ = w.out.Reopen() // the write that follows shows whether it helped
}

// reopen opens the file again at the operator's wish. A file that cannot be opened leaves the old
// one in use.
func (w *writer) reopen() {
	if err := w.out.Reopen(); err != nil {
		w.log.cfg.Log.Error("the audit log cannot be opened again: the old file stays in use", "file", w.log.cfg.File, "error", err)
		return
	}
	w.torn = false
}
