package raftstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"path/filepath"
	"sync"
	"time"

	"github.com/hashicorp/raft"
	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/sgkandale/sharelock/internal/intconv"
	"github.com/sgkandale/sharelock/internal/release"
)

// Store keeps Raft's log and its term and vote on disk. A write that returned
// has been synced: a voter that forgot its vote or a committed view would let
// epochs go backwards.
//
// All methods may be called from several goroutines, also after Close, which
// makes them fail.
type Store struct {
	db *bbolt.DB
	// Fault, if it is set, is called before each write, which then fails with its error. It must
	// be set before the first write; tests use it for a full disk.
	Fault func() error
	// closing is closed before Raft ends, see SetUint64.
	closing chan struct{}
	ending  sync.Once

	mu sync.Mutex
	// failed is why the last write failed, nil if it did not. Guarded by mu.
	failed error
}

var (
	_ raft.LogStore    = (*Store)(nil)
	_ raft.StableStore = (*Store)(nil)
)

// ErrDamaged is the error for a file that holds something that this package did not write.
var ErrDamaged = errors.New("the store is damaged")

// errClosing: Raft ends, so nothing is written any more.
var errClosing = errors.New("the store is closing")

// errKeyNotFound has this text because raft looks for it by text.
var errKeyNotFound = errors.New("not found")

const (
	// logBucket holds log entries by big-endian index, valueBucket what raft sets
	// by name.
	logBucket, valueBucket = "log", "values"
	// lockWait is how long a file that another process has open is waited for.
	lockWait = time.Second
	// termKey is Raft's own name of its term.
	termKey = "CurrentTerm"
	// termRetry is the pause between two attempts to write the term.
	termRetry = 50 * time.Millisecond
	// probeKey is the name under which Probe writes probeSize bytes.
	probeKey  = "probe"
	probeSize = 4 << 10
)

// Open opens the file, or creates it. It fails if another process has the file open.
// syncDir makes the names in a directory survive a crash.
func Open(path string, syncDir func(string) error) (s *Store, err error) {
	defer func() {
		// bbolt panics on some kinds of damage instead of returning an error.
		if r := recover(); r != nil {
			s, err = nil, fmt.Errorf("open %s: %w: %v", path, ErrDamaged, r)
		}
	}()
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{
		Timeout:        lockWait,
		NoFreelistSync: true,
		FreelistType:   bbolt.FreelistMapType,
	})
	if errors.Is(err, berrors.ErrTimeout) {
		return nil, fmt.Errorf("open %s: another process has it open: %w", path, err)
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		for _, name := range []string{logBucket, valueBucket} {
			if _, err := tx.CreateBucketIfNotExists([]byte(name)); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		// bbolt syncs the file but not its name.
		err = syncDir(filepath.Dir(path))
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", path, err), db.Close())
	}
	return &Store{db: db, closing: make(chan struct{})}, nil
}

// update makes one write, and notes whether it worked.
func (s *Store) update(fn func(*bbolt.Tx) error) error {
	select {
	case <-s.closing:
		return errClosing
	default:
	}
	err := s.faulted()
	if err == nil {
		err = s.db.Update(fn)
	}
	s.mu.Lock()
	s.failed = err
	s.mu.Unlock()
	return err
}

func (s *Store) faulted() error {
	if s.Fault == nil {
		return nil
	}
	return s.Fault()
}

// Failed is why the last write failed; nil if it did not.
func (s *Store) Failed() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed
}

// Probe makes a write of no meaning: a voter has to know that its disk fails before its
// vote is needed, and when it works again.
func (s *Store) Probe() error { return s.Set([]byte(probeKey), make([]byte, probeSize)) }

// SetTerm writes Raft's term, of a process that runs no Raft. Unlike SetUint64 it returns when the
// disk is full.
func (s *Store) SetTerm(term uint64) error { return s.Set([]byte(termKey), encodeIndex(term)) }

// Release ends the wait of SetUint64 for good, and all writes.
func (s *Store) Release() { s.ending.Do(func() { close(s.closing) }) }

// Close waits for open transactions. It may be called twice.
func (s *Store) Close() error {
	s.Release()
	return s.db.Close()
}

// FirstIndex is the lowest index in the log, 0 for an empty log.
func (s *Store) FirstIndex() (uint64, error) { return s.edge((*bbolt.Cursor).First) }

// LastIndex is the highest index in the log, 0 for an empty log.
func (s *Store) LastIndex() (uint64, error) { return s.edge((*bbolt.Cursor).Last) }

func (s *Store) edge(move func(*bbolt.Cursor) (key, value []byte)) (index uint64, err error) {
	err = s.db.View(func(tx *bbolt.Tx) error {
		key, _ := move(tx.Bucket([]byte(logBucket)).Cursor())
		if key == nil {
			return nil
		}
		index, err = decodeIndex(key)
		return err
	})
	return index, err
}

// GetLog reads one entry; raft.ErrLogNotFound if there is none.
func (s *Store) GetLog(index uint64, entry *raft.Log) error {
	return s.db.View(func(tx *bbolt.Tx) error {
		data := tx.Bucket([]byte(logBucket)).Get(encodeIndex(index))
		if data == nil {
			return raft.ErrLogNotFound
		}
		got, err := decodeEntry(data)
		if err != nil {
			return fmt.Errorf("log entry %d: %w", index, err)
		}
		got.Index = index
		*entry = got
		return nil
	})
}

// StoreLog is StoreLogs of one entry.
func (s *Store) StoreLog(entry *raft.Log) error { return s.StoreLogs([]*raft.Log{entry}) }

// StoreLogs writes all entries or none. An entry replaces the one of its index.
func (s *Store) StoreLogs(entries []*raft.Log) error {
	if len(entries) == 0 {
		return nil
	}
	return s.update(func(tx *bbolt.Tx) error {
		bucket := tx.Bucket([]byte(logBucket))
		for _, entry := range entries {
			if err := bucket.Put(encodeIndex(entry.Index), encodeEntry(entry)); err != nil {
				return fmt.Errorf("log entry %d: %w", entry.Index, err)
			}
		}
		return nil
	})
}

// DeleteRange removes the entries from first to last, both included.
func (s *Store) DeleteRange(first, last uint64) error {
	return s.update(func(tx *bbolt.Tx) error {
		bucket := tx.Bucket([]byte(logBucket))
		// Collected first: a cursor may skip an entry after a deletion.
		var keys [][]byte
		cursor := bucket.Cursor()
		for key, _ := cursor.Seek(encodeIndex(first)); key != nil; key, _ = cursor.Next() {
			index, err := decodeIndex(key)
			if err != nil {
				return err
			}
			if index > last {
				break
			}
			keys = append(keys, encodeIndex(index))
		}
		for _, key := range keys {
			if err := bucket.Delete(key); err != nil {
				return err
			}
		}
		return nil
	})
}

// Set stores a value by name.
func (s *Store) Set(key, value []byte) error {
	return s.update(func(tx *bbolt.Tx) error {
		return tx.Bucket([]byte(valueBucket)).Put(key, value)
	})
}

// Get reads a value; for a name that was never set the error's text is "not
// found", which raft relies on.
func (s *Store) Get(key []byte) (value []byte, err error) {
	err = s.db.View(func(tx *bbolt.Tx) error {
		data := tx.Bucket([]byte(valueBucket)).Get(key)
		if data == nil {
			return errKeyNotFound
		}
		value = append([]byte{}, data...) // data ends with the transaction
		return nil
	})
	return value, err
}

// SetUint64 stores a number by name. It returns no error for Raft's term, since Raft ends
// the process then: it waits until the term can be written. As long as it waits this voter
// takes part in nothing, and the process goes on without its vote. Once the store is
// closing it returns at once: no vote and no entry is written any more, so none is given in
// the new term.
func (s *Store) SetUint64(key []byte, value uint64) error {
	for {
		err := s.Set(key, encodeIndex(value))
		if err == nil || string(key) != termKey {
			return err
		}
		timer := time.NewTimer(termRetry)
		select {
		case <-timer.C:
		case <-s.closing:
			timer.Stop()
			return nil
		}
	}
}

// GetUint64 reads a number; 0 for a name that was never set.
func (s *Store) GetUint64(key []byte) (uint64, error) {
	value, err := s.Get(key)
	if errors.Is(err, errKeyNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return decodeIndex(value)
}

func encodeIndex(index uint64) []byte { return binary.BigEndian.AppendUint64(nil, index) }

func decodeIndex(key []byte) (uint64, error) {
	if len(key) != 8 {
		return 0, fmt.Errorf("%w: a number of %d bytes", ErrDamaged, len(key))
	}
	return binary.BigEndian.Uint64(key), nil
}

const (
	// entryFormat is the release that introduced this form of an entry; that of a later one
	// has its first byte and its checksum in the same places.
	entryFormat = 1
	// entryHeader: format, type, term, time of appending, length of extensions.
	entryHeader = 1 + 1 + 8 + 8 + 4
	entrySum    = 4
	// noTime is the stored form of the zero time.
	noTime = math.MinInt64
)

// encodeEntry writes an entry without its index:
//
//	format 1 | type 1 | term 8 | appended at, ns 8 | n 4 | extensions n | data | CRC-32C 4
func encodeEntry(entry *raft.Log) []byte {
	at := int64(noTime)
	if !entry.AppendedAt.IsZero() {
		at = entry.AppendedAt.UnixNano()
	}
	b := make([]byte, 0, entryHeader+len(entry.Extensions)+len(entry.Data)+entrySum)
	b = append(b, entryFormat, byte(entry.Type))
	b = binary.BigEndian.AppendUint64(b, entry.Term)
	b = binary.BigEndian.AppendUint64(b, intconv.Bits(at))
	b = binary.BigEndian.AppendUint32(b, intconv.Uint32(len(entry.Extensions)))
	b = append(b, entry.Extensions...)
	b = append(b, entry.Data...)
	return binary.BigEndian.AppendUint32(b, crc32c(b))
}

// decodeEntry shares nothing with b.
func decodeEntry(b []byte) (raft.Log, error) {
	if len(b) < entryHeader+entrySum {
		return raft.Log{}, fmt.Errorf("%w: %d bytes are too few", ErrDamaged, len(b))
	}
	body, sum := b[:len(b)-entrySum], binary.BigEndian.Uint32(b[len(b)-entrySum:])
	if crc32c(body) != sum {
		return raft.Log{}, fmt.Errorf("%w: wrong checksum", ErrDamaged)
	}
	switch {
	case body[0] > entryFormat:
		return raft.Log{}, release.Newer(uint32(body[0]))
	case body[0] < entryFormat:
		return raft.Log{}, fmt.Errorf("%w: format %d, this release knows %d", ErrDamaged, body[0], entryFormat)
	}
	entry := raft.Log{Type: raft.LogType(body[1]), Term: binary.BigEndian.Uint64(body[2:])}
	if at := intconv.Signed(binary.BigEndian.Uint64(body[10:])); at != noTime {
		entry.AppendedAt = time.Unix(0, at)
	}
	n := uint64(binary.BigEndian.Uint32(body[18:]))
	rest := body[entryHeader:]
	if n > uint64(len(rest)) {
		return raft.Log{}, fmt.Errorf("%w: extensions of %d bytes in %d", ErrDamaged, n, len(rest))
	}
	if n > 0 {
		entry.Extensions = append([]byte(nil), rest[:n]...)
	}
	if data := rest[n:]; len(data) > 0 {
		entry.Data = append([]byte(nil), data...)
	}
	return entry, nil
}

func crc32c(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }
