package mesh

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"github.com/sgkandale/sharelock/internal/release"
	"github.com/sgkandale/sharelock/ring"
)

// errDataDirInUse: another process works in the data directory.
var errDataDirInUse = errors.New("the data directory is in use by another process")

const (
	lockFile     = "lock"
	identityFile = "identity"
	promiseFile  = "promise"
	raftFolder   = "raft"

	// maxClusterID bounds a cluster id, in bytes.
	maxClusterID = 64
)

// dataDir is what a process keeps on disk: who it is, which cluster it follows,
// and Raft's files. While it is open no other process can open it.
//
// All methods may be called from several goroutines.
type dataDir struct {
	path     string // empty: in memory
	lock     *os.File
	identity ring.Identity
	// program is what the program works with.
	program release.Range

	// writing serialises SetPromise, which holds it while it writes the file.
	writing sync.Mutex

	mu sync.Mutex // guards what follows
	promiseRecord
	// release is the highest release of a view that this directory has followed (W1).
	release uint32
	cluster clusterRecord
	closed  bool
}

// promiseRecord is the cluster that this process follows (V0).
type promiseRecord struct {
	clusterID []byte
	founder   ring.Identity
}

// openDataDir opens the directory, or makes it and a new id. It raises the
// counter of the incarnation, synced, before it returns. An empty path keeps
// everything in memory: then every start is a new id.
func openDataDir(path string, program release.Range) (*dataDir, error) {
	d := &dataDir{identity: ring.Identity{Nonce: randomUint64()}, program: program, release: program.Oldest}
	if path == "" {
		d.identity.ID, d.identity.Counter = newID(), 1
		return d, nil
	}
	var err error
	if d.path, err = filepath.Abs(path); err != nil {
		return nil, fmt.Errorf("data directory %s: %w", path, err)
	}
	if err := d.open(); err != nil {
		if d.lock != nil {
			err = errors.Join(err, d.lock.Close())
		}
		return nil, fmt.Errorf("data directory %s: %w", d.path, err)
	}
	return d, nil
}

func (d *dataDir) open() error {
	if err := makeDir(d.path); err != nil {
		return err
	}
	lock, err := lockExclusive(filepath.Join(d.path, lockFile))
	if err != nil {
		return err
	}
	d.lock = lock
	if err := d.readRelease(); err != nil {
		return err
	}
	if err := d.readIdentity(); err != nil {
		return err
	}
	if err := d.readPromise(); err != nil {
		return err
	}
	if err := d.readCluster(); err != nil {
		return err
	}
	if err := d.finishRecovery(); err != nil {
		return err
	}
	// Only now, when nothing else can fail: the counter goes up once for every
	// start that becomes a member.
	d.identity.Counter++
	if err := writeSynced(d.file(identityFile), encodeIdentity(d.identity)); err != nil {
		return err
	}
	return makeDir(d.file(raftFolder))
}

func (d *dataDir) file(name string) string { return filepath.Join(d.path, name) }

// readIdentity reads the id and the counter of the last start, or makes an id
// if the directory was never used.
func (d *dataDir) readIdentity() error {
	data, err := os.ReadFile(d.file(identityFile))
	if err == nil {
		id, counter, err := decodeIdentity(data)
		if err != nil {
			return fmt.Errorf("%s: %w", identityFile, err)
		}
		d.identity.ID, d.identity.Counter = id, counter
		return nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	// The identity is written before everything else. If it is gone and the rest
	// is not, someone removed it; a new id would then own another's promises.
	for _, name := range []string{promiseFile, raftFolder} {
		if _, err := os.Lstat(d.file(name)); !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%w: %s is missing but %s is there; restore it, or empty the directory to start as a new member",
				errRecordCorrupt, identityFile, name)
		}
	}
	d.identity.ID = newID()
	return nil
}

func (d *dataDir) readPromise() error {
	data, err := os.ReadFile(d.file(promiseFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if d.promiseRecord, err = decodePromise(data); err != nil {
		return fmt.Errorf("%s: %w", promiseFile, err)
	}
	return nil
}

// Identity is this process: the id of the directory and the incarnation of this
// start.
func (d *dataDir) Identity() ring.Identity { return d.identity }

// Volatile reports whether everything is kept in memory, so that the next start is a new
// process.
func (d *dataDir) Volatile() bool { return d.path == "" }

// RaftDir is the folder for Raft's files; empty when all is in memory.
func (d *dataDir) RaftDir() string {
	if d.path == "" {
		return ""
	}
	return d.file(raftFolder)
}

// Promise is the cluster that this directory follows and the founder it was
// promised to; ok is false as long as it follows none (V0).
func (d *dataDir) Promise() (clusterID []byte, founder ring.Identity, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]byte(nil), d.clusterID...), d.founder, len(d.clusterID) > 0
}

// SetPromise replaces the promise. It returns when the new one is synced; after
// an error either of the two may be found at the next start. The founder may be
// the zero Identity: a process that joined a cluster does not know it.
func (d *dataDir) SetPromise(clusterID []byte, founder ring.Identity) error {
	if len(clusterID) == 0 || len(clusterID) > maxClusterID {
		return fmt.Errorf("promise: a cluster id of %d bytes, want 1 to %d", len(clusterID), maxClusterID)
	}
	p := promiseRecord{clusterID: append([]byte(nil), clusterID...), founder: founder}
	d.writing.Lock()
	defer d.writing.Unlock()
	d.mu.Lock()
	closed := d.closed
	d.mu.Unlock()
	if closed {
		return fmt.Errorf("promise: data directory: %w", fs.ErrClosed)
	}
	if d.path != "" {
		if err := writeSynced(d.file(promiseFile), encodePromise(p)); err != nil {
			return fmt.Errorf("promise: %w", err)
		}
	}
	d.mu.Lock()
	d.promiseRecord = p
	d.mu.Unlock()
	return nil
}

// Close lets other processes in. It may be called twice.
func (d *dataDir) Close() error {
	d.writing.Lock()
	defer d.writing.Unlock()
	d.mu.Lock()
	wasClosed := d.closed
	d.closed = true
	d.mu.Unlock()
	if wasClosed || d.lock == nil {
		return nil
	}
	// The lock file stays: removing it would let two processes lock two files of
	// one name.
	return d.lock.Close()
}

func encodeIdentity(id ring.Identity) []byte {
	return encodeRecord("identity", []recordField{
		{"id", id.ID},
		{"counter", strconv.FormatUint(id.Counter, 10)},
	})
}

func decodeIdentity(data []byte) (id string, counter uint64, err error) {
	values, err := decodeRecord("identity", data, "id", "counter")
	if err != nil {
		return "", 0, err
	}
	if raw, err := hex.DecodeString(values[0]); err != nil || hex.EncodeToString(raw) != values[0] || len(raw) != idBytes {
		return "", 0, fmt.Errorf("%w: id is %q", errRecordCorrupt, values[0])
	}
	if counter, err = parseCount("counter", values[1]); err != nil {
		return "", 0, err
	}
	if counter+1 == 0 {
		return "", 0, fmt.Errorf("%w: the counter is used up", errRecordCorrupt)
	}
	return values[0], counter, nil
}

func encodePromise(p promiseRecord) []byte {
	return encodeRecord("promise", []recordField{
		{"cluster", hex.EncodeToString(p.clusterID)},
		{"founder", hex.EncodeToString([]byte(p.founder.ID))},
		{"counter", strconv.FormatUint(p.founder.Counter, 10)},
		{"nonce", strconv.FormatUint(p.founder.Nonce, 10)},
	})
}

func decodePromise(data []byte) (promiseRecord, error) {
	values, err := decodeRecord("promise", data, "cluster", "founder", "counter", "nonce")
	if err != nil {
		return promiseRecord{}, err
	}
	var p promiseRecord
	var raw [2][]byte
	for i := range raw {
		raw[i], err = hex.DecodeString(values[i])
		if err != nil || hex.EncodeToString(raw[i]) != values[i] {
			return promiseRecord{}, fmt.Errorf("%w: %q is not hexadecimal", errRecordCorrupt, values[i])
		}
	}
	p.clusterID, p.founder.ID = raw[0], string(raw[1])
	if len(p.clusterID) == 0 || len(p.clusterID) > maxClusterID {
		return promiseRecord{}, fmt.Errorf("%w: a cluster id of %d bytes", errRecordCorrupt, len(p.clusterID))
	}
	if p.founder.Counter, err = parseCount("counter", values[2]); err != nil {
		return promiseRecord{}, err
	}
	if p.founder.Nonce, err = parseCount("nonce", values[3]); err != nil {
		return promiseRecord{}, err
	}
	return p, nil
}

// makeDir makes a directory if it is not there, and syncs its name.
func makeDir(path string) error {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return nil
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// idBytes is the length of an id before it is printed.
const idBytes = 8

func newID() string {
	var b [idBytes]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

func randomUint64() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return binary.BigEndian.Uint64(b[:])
}
