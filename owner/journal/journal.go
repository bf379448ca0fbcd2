package journal

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/sgkandale/sharelock/internal/segment"
	"github.com/sgkandale/sharelock/internal/wake"
)

// MinBytes is the minimum of Config.MaxBytes.
const MinBytes = segment.MinBytes

// maxWaiting is the maximum number of bytes that wait for the disk. gatherTime is how long records
// are gathered before they are written; if one pen has gathered bytes, they are written at once.
const (
	maxWaiting = 8 << 20
	gatherTime = 50 * time.Millisecond
	gathered   = 256 << 10
)

// mostSearches is the maximum number of searches that read the disk at the same time; others wait.
const mostSearches = 2

// blockBytes is about the size of a block, which is what has to be read for one record.
const blockBytes = 32 << 10

// Config configures a [Journal].
type Config struct {
	// Dir is the directory. If it is empty, everything is kept in memory.
	Dir string
	// MaxBytes is the maximum size of what is kept. Keep is how long it is kept.
	MaxBytes int64
	Keep     time.Duration
	// Partitions is more than the largest number of a partition.
	Partitions int
	Log        *slog.Logger
	// Fault, if set, may make a write fail, for tests.
	Fault func() error
}

// A Journal is the record of one member. Its methods are safe for concurrent use. Run writes it.
type Journal struct {
	cfg   Config
	store *segment.Store

	wake wake.Signal
	// searches is full while mostSearches searches read the disk.
	searches chan struct{}
	// failures counts the writes that have failed.
	failures atomic.Uint64
	lost     atomic.Uint64
	// idle is set while Run waits for the first record. The pen that writes it clears idle and sets
	// wake.
	idle atomic.Bool
	// share is the maximum number of bytes that wait in each pen.
	share atomic.Int64

	mu   sync.Mutex
	pens []*Pen // guarded by mu
	// flushed are closed when everything that waits now has been written; guarded by mu.
	flushed []chan struct{}

	spansMu sync.Mutex
	spans   []spans // by partition; guarded by spansMu
	oldest  uint64  // the oldest segment that spans take into account; guarded by spansMu

	// Only Run uses the following fields. records are the records of a block. failed is set while
	// writes fail. gap is set if records may be missing before the next one.
	room        []byte
	hashes      []uint64
	records     []record
	failed, gap bool
}

// Open opens a journal and finds out what it contains.
func Open(cfg Config) (*Journal, error) {
	store, torn, err := segment.Open(cfg.Dir, cfg.MaxBytes)
	if err != nil {
		return nil, err
	}
	if torn {
		cfg.Log.Info("the end of the history was cut off by a crash", "directory", cfg.Dir)
	}
	j := &Journal{cfg: cfg, store: store, wake: wake.New(), searches: make(chan struct{}, mostSearches), oldest: store.Oldest()}
	if _, _, some := store.Began(); some {
		j.recall()
		j.gap = true // the earlier process may have been killed
	}
	return j, nil
}

// recall finds the spans of an earlier process. It reads all blocks with marks, and all blocks of
// the last segment.
func (j *Journal) recall() {
	last, _, _ := j.store.Began()
	j.spansMu.Lock()
	defer j.spansMu.Unlock()
	for _, ref := range j.store.All() {
		if !ref.Marked && ref.Segment != last {
			continue
		}
		payload, err := j.store.Read(&ref)
		if err != nil {
			j.note(&record{kind: gap}, ref.Segment)
			continue
		}
		var r record
		for len(payload) > 0 {
			if payload, err = r.next(payload); err != nil {
				j.note(&record{kind: gap}, ref.Segment)
				break
			}
			j.note(&r, ref.Segment)
		}
	}
	j.note(&record{kind: gap}, last) // this process has no copy yet
}

// note updates the spans after a record was written. It needs spansMu.
func (j *Journal) note(r *record, segment uint64) {
	if r.kind == gap {
		for i := range j.spans {
			j.spans[i].shut()
		}
		return
	}
	if s := j.spansAt(r.partition); s != nil {
		s.note(r, segment)
	}
}

// spansAt returns the spans of a partition, or nil if there is no such partition. It needs spansMu.
func (j *Journal) spansAt(partition uint32) *spans {
	if int64(partition) >= int64(j.cfg.Partitions) {
		return nil
	}
	if more := int(partition) + 1 - len(j.spans); more > 0 {
		j.spans = append(j.spans, make([]spans, more)...)
	}
	return &j.spans[partition]
}

// Run writes records until ctx ends. Then it writes what is left and returns.
func (j *Journal) Run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	<-timer.C
	for {
		j.rest()
		select {
		case <-j.wake:
		case <-ctx.Done():
			j.writeWaiting()
			return
		}
		j.idle.Store(false)
		if !j.urgent() {
			timer.Reset(gatherTime)
			select {
			case <-timer.C:
			case <-j.wake:
				timer.Stop()
			case <-ctx.Done():
				timer.Stop()
			}
		}
		j.writeWaiting()
	}
}

// rest makes the next record wake Run. Records that have arrived since the last write wake it, too.
func (j *Journal) rest() {
	j.idle.Store(true)
	if j.longest() > 0 {
		j.wake.Set()
	}
}

// urgent reports whether what waits should be written at once.
func (j *Journal) urgent() bool {
	j.mu.Lock()
	asked := len(j.flushed) > 0
	j.mu.Unlock()
	return asked || j.longest() >= gathered
}

// longest returns the maximum number of bytes that wait in any pen.
func (j *Journal) longest() (n int) {
	for _, p := range j.allPens() {
		n = max(n, p.length())
	}
	return n
}

func (j *Journal) allPens() []*Pen {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.pens
}

// flush waits until everything that waits now is written.
func (j *Journal) flush(ctx context.Context) error {
	done := make(chan struct{})
	j.mu.Lock()
	j.flushed = append(j.flushed, done)
	j.mu.Unlock()
	j.wake.Set()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// writeWaiting writes what waits.
func (j *Journal) writeWaiting() {
	j.mu.Lock()
	pens, flushed := j.pens, j.flushed
	j.flushed = nil
	j.mu.Unlock()
	for _, p := range pens {
		batch := p.collect()
		for rest := batch; len(rest) > 0; {
			n, err := j.write(rest)
			if err != nil {
				j.fail(err)
				break
			}
			rest = rest[n:]
		}
		p.keep(batch)
	}
	for _, done := range flushed {
		close(done)
	}
}

// fail handles that records could not be written.
func (j *Journal) fail(err error) {
	if !j.failed {
		j.cfg.Log.Warn("the history cannot be written; it will have a gap", "directory", j.cfg.Dir, "error", err)
	}
	j.failed, j.gap = true, true
	j.failures.Add(1)
	j.spansMu.Lock()
	defer j.spansMu.Unlock()
	j.note(&record{kind: gap}, 0)
}

// write writes the first records of b as one block, and returns their length. If the segment is
// full, it begins another.
func (j *Journal) write(b []byte) (int, error) {
	if j.cfg.Fault != nil {
		if err := j.cfg.Fault(); err != nil {
			return 0, err
		}
	}
	if j.store.Full() || j.gap {
		if err := j.roll(); err != nil {
			return 0, err
		}
		j.gap = false
	}
	n, err := j.put(b)
	j.failed = err != nil
	return n, err
}

// put writes the first records of b as one block into the last segment, updates the spans, and
// returns the records' length.
func (j *Journal) put(b []byte) (int, error) {
	var bl segment.Block
	j.hashes, j.records = j.hashes[:0], j.records[:0]
	n := 0
	for n < len(b) && n < blockBytes {
		j.records = append(j.records, record{})
		r := &j.records[len(j.records)-1]
		rest, err := r.next(b[n:])
		if err != nil {
			return 0, err
		}
		n = len(b) - len(rest)
		if r.kind == applied {
			j.hashes = append(j.hashes, xxhash.Sum64(keyOf(r.op)))
		} else {
			bl.Marked = true
		}
		if bl.First == 0 {
			bl.First = r.at
		}
		bl.First, bl.Last = min(bl.First, r.at), max(bl.Last, r.at)
	}
	bl.Payload, bl.Hashes = b[:n], j.hashes
	if err := j.store.Append(&bl); err != nil {
		return 0, err
	}
	j.noteAll(j.records)
	return n, nil
}

// noteAll updates the spans after records were written to the last segment.
func (j *Journal) noteAll(list []record) {
	number, _, _ := j.store.Began()
	j.spansMu.Lock()
	defer j.spansMu.Unlock()
	for i := range list {
		j.note(&list[i], number)
	}
}

// roll begins another segment. It first writes the places of all copies in their logs, so that the
// segment can be read without the earlier ones. After a failure the segment begins with a gap.
func (j *Journal) roll() error {
	now := time.Now()
	if err := j.store.Roll(now.Add(-j.cfg.Keep).UnixMicro()); err != nil {
		return err
	}
	j.trim()
	b := j.room[:0]
	if j.gap {
		b = (&record{kind: gap, at: now.UnixMicro()}).append(b)
	}
	j.spansMu.Lock()
	for p := range j.spans {
		if o := j.spans[p].open(); o != nil {
			b = (&record{kind: stands, partition: uint32(p), epoch: o.Epoch, seq: o.High, at: now.UnixMicro(), base: o.Base, from: o.From, lost: o.Lost}).append(b)
		}
	}
	j.spansMu.Unlock()
	j.room = b
	for len(b) > 0 {
		n, err := j.put(b)
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// trim updates the spans after segments were removed.
func (j *Journal) trim() {
	oldest := j.store.Oldest()
	j.spansMu.Lock()
	known := j.oldest
	j.spansMu.Unlock()
	if oldest == known {
		return
	}
	stood, began := j.stoodAt(oldest)
	j.spansMu.Lock()
	defer j.spansMu.Unlock()
	j.oldest = oldest
	for p := range j.spans {
		j.spans[p].cut(oldest, began, stood[uint32(p)])
	}
}

// stoodAt reads the places of the copies at the beginning of a segment, and when that was.
func (j *Journal) stoodAt(number uint64) (stood map[uint32]*record, began int64) {
	stood = map[uint32]*record{}
	for _, ref := range j.store.Marked() {
		if ref.Segment != number {
			break
		}
		payload, err := j.store.Read(&ref)
		for err == nil && len(payload) > 0 {
			r := &record{}
			if payload, err = r.next(payload); err == nil && r.kind == stands {
				stood[r.partition] = r
				began = max(began, r.at)
			}
		}
	}
	return stood, began
}

// Bytes returns the size of what is kept.
func (j *Journal) Bytes() int64 { return j.store.Bytes() }

// Lost returns how many bytes of records were lost because the disk was too slow.
func (j *Journal) Lost() uint64 { return j.lost.Load() }

// Close closes the files. Run must have ended.
func (j *Journal) Close() error { return j.store.Close() }
