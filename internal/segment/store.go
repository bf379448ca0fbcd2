package segment

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
)

// The size of a segment is a fraction of the whole, so that little is removed at once, within bounds.
const (
	parts      = 16
	minSegment = 64 << 10
	maxSegment = 4 << 20
)

// MinBytes is the least that a Store may be bounded to.
const MinBytes = parts * minSegment

// A Store keeps blocks. Its methods are safe for concurrent use; appends come from one goroutine.
type Store struct {
	dir  string
	most int64
	room []byte // of the goroutine that appends

	mu sync.Mutex
	// segments are in the order of their numbers; the last is appended to. Guarded by mu, with
	// all that they have.
	segments []*segment
	total    int64  // guarded by mu
	next     uint64 // the number of the next segment; guarded by mu
	// file is the last segment if it has been written to; guarded by mu.
	file *os.File
}

// A segment is one file of blocks.
type segment struct {
	number uint64
	size   int64
	blocks []block
}

// A block is a block in a segment.
type block struct {
	header
	at int64
	// data is the payload if there is no directory.
	data []byte
}

// A Ref names a block.
type Ref struct {
	// Segment is the number of its segment. Numbers grow.
	Segment uint64
	// Marked, First and Last are as they were given.
	Marked      bool
	First, Last int64
	block       block
}

// Open opens a directory, which it creates if necessary, and reads what is in it. An empty dir keeps
// everything in memory. most is the bound in bytes, at least MinBytes. Open removes what a crash has
// cut off, and sets torn if there was any.
func Open(dir string, most int64) (s *Store, torn bool, err error) {
	s = &Store{dir: dir, most: max(most, MinBytes)}
	if dir == "" {
		return s, false, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, false, err
	}
	numbers, err := s.numbers()
	if err != nil {
		return nil, false, err
	}
	for i, n := range numbers {
		g, cut, err := s.load(n, i == len(numbers)-1)
		if err != nil {
			return nil, false, err
		}
		torn = torn || cut
		s.segments = append(s.segments, g)
		s.total += g.size
	}
	return s, torn, nil
}

// numbers returns the numbers of the segments in the directory, sorted.
func (s *Store) numbers() (numbers []uint64, err error) {
	files, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		var n uint64
		if _, err := fmt.Sscanf(f.Name(), "%016x.seg", &n); err == nil && f.Name() == name(n) {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	return numbers, nil
}

func name(number uint64) string { return fmt.Sprintf("%016x.seg", number) }

func (s *Store) path(number uint64) string { return filepath.Join(s.dir, name(number)) }

// load reads the headers of a segment, and of the last segment all content. It truncates the segment
// before the first damaged block.
func (s *Store) load(number uint64, last bool) (g *segment, torn bool, err error) {
	f, err := os.OpenFile(s.path(number), os.O_RDWR, 0)
	if err != nil {
		return nil, false, err
	}
	defer f.Close() //nolint:errcheck // nothing is left to write
	info, err := f.Stat()
	if err != nil {
		return nil, false, err
	}
	g = &segment{number: number}
	for g.size < info.Size() {
		h, err := readHeader(f, g.size)
		b := block{header: h, at: g.size}
		if err == nil && g.size+h.bytes() > info.Size() {
			err = ErrDamaged
		}
		if err == nil && last {
			_, err = readPayload(f, &b)
		}
		if errors.Is(err, ErrDamaged) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return g, true, f.Truncate(g.size)
		}
		if err != nil {
			return nil, false, err
		}
		g.blocks = append(g.blocks, b)
		g.size += h.bytes()
	}
	return g, false, nil
}

func readHeader(f io.ReaderAt, at int64) (header, error) {
	fixed := make([]byte, headerBytes)
	if _, err := f.ReadAt(fixed, at); err != nil {
		return header{}, err
	}
	n, err := filterBytes(fixed)
	if err != nil {
		return header{}, err
	}
	all := make([]byte, headerBytes+n)
	if _, err := f.ReadAt(all, at); err != nil {
		return header{}, err
	}
	return decodeHeader(all)
}

func readPayload(f io.ReaderAt, b *block) ([]byte, error) {
	payload := make([]byte, b.size)
	if _, err := f.ReadAt(payload, b.at+headerBytes+int64(len(b.filter))); err != nil {
		return nil, err
	}
	return payload, b.check(payload)
}

// Full reports whether Roll must be called before the next block is appended.
func (s *Store) Full() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.segments) == 0 || s.segments[len(s.segments)-1].size >= s.segmentSize()
}

func (s *Store) segmentSize() int64 { return min(max(s.most/parts, minSegment), maxSegment) }

// Began returns the number of the last segment and the time of its first block; ok is false if there
// is none.
func (s *Store) Began() (number uint64, first int64, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.segments) == 0 {
		return 0, 0, false
	}
	g := s.segments[len(s.segments)-1]
	if len(g.blocks) == 0 {
		return g.number, 0, true
	}
	return g.number, g.blocks[0].first, true
}

// Roll begins another segment. It removes the oldest ones as long as all could become larger than
// the bound, and those whose last block is from before a time.
func (s *Store) Roll(before int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.closeFile(); err != nil {
		return err
	}
	for len(s.segments) > 0 {
		g := s.segments[0]
		if s.total+s.segmentSize() <= s.most && len(g.blocks) > 0 && g.blocks[len(g.blocks)-1].last >= before {
			break
		}
		if s.dir != "" {
			if err := os.Remove(s.path(g.number)); err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
		}
		s.total -= g.size
		s.segments = s.segments[1:]
		s.next = max(s.next, g.number+1)
	}
	if n := len(s.segments); n > 0 {
		s.next = s.segments[n-1].number + 1
	}
	s.segments = append(slices.Clone(s.segments), &segment{number: s.next})
	return nil
}

// Append appends a block. After an error the segment is as it was before, or ends there.
func (s *Store) Append(b *Block) error {
	if len(b.Payload) > MaxPayload {
		return fmt.Errorf("a block of %d bytes is too large", len(b.Payload))
	}
	h := newHeader(b)
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.segments) == 0 {
		return errors.New("there is no segment")
	}
	g := s.segments[len(s.segments)-1]
	added := block{header: h, at: g.size}
	if s.dir == "" {
		added.data = slices.Clone(b.Payload)
	} else if err := s.write(g, &h, b.Payload); err != nil {
		return err
	}
	g.blocks = append(g.blocks, added)
	g.size += h.bytes()
	s.total += h.bytes()
	return nil
}

// write appends a block to the file of the last segment. The caller holds mu.
func (s *Store) write(g *segment, h *header, payload []byte) (err error) {
	data := h.append(s.room[:0], payload)
	if s.room = data; cap(data) > 2*MaxPayload {
		s.room = nil
	}
	if s.file == nil {
		if s.file, err = os.OpenFile(s.path(g.number), os.O_RDWR|os.O_CREATE, 0o600); err != nil {
			return err
		}
	}
	if _, err = s.file.WriteAt(data, g.size); err != nil {
		return errors.Join(err, s.file.Truncate(g.size))
	}
	return nil
}

// All returns all blocks in the order in which they were appended.
func (s *Store) All() []Ref { return s.blocks(func(*block) bool { return true }) }

// Marked returns the marked blocks.
func (s *Store) Marked() []Ref { return s.blocks(func(b *block) bool { return b.marked }) }

// With returns the blocks in which a hash may be.
func (s *Store) With(hash uint64) []Ref {
	return s.blocks(func(b *block) bool { return b.filter.has(hash) })
}

func (s *Store) blocks(fits func(*block) bool) (list []Ref) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range s.segments {
		for i := range g.blocks {
			if b := &g.blocks[i]; fits(b) {
				list = append(list, Ref{Segment: g.number, Marked: b.marked, First: b.first, Last: b.last, block: *b})
			}
		}
	}
	return list
}

// Oldest returns the number of the oldest segment; 0 if there is none.
func (s *Store) Oldest() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.segments) == 0 {
		return 0
	}
	return s.segments[0].number
}

// Read returns the payload of a block. It fails with os.ErrNotExist if the block has been removed, and
// with [ErrDamaged] if it is not what was written.
func (s *Store) Read(r *Ref) ([]byte, error) {
	if s.dir == "" {
		return r.block.data, nil
	}
	f, err := os.Open(s.path(r.Segment))
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // it was only read
	payload, err := readPayload(f, &r.block)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, ErrDamaged
	}
	return payload, err
}

// Bytes returns how much is stored.
func (s *Store) Bytes() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.total
}

// Close closes the file that is appended to.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closeFile()
}

// closeFile closes the file that is appended to. The caller holds mu.
func (s *Store) closeFile() error {
	if s.file == nil {
		return nil
	}
	f := s.file
	s.file = nil
	return f.Close()
}
