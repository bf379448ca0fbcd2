package identity

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/sgkandale/sharelock/internal/release"
	"github.com/sgkandale/sharelock/ring"
)

// errInUse: another process works in the data directory.
var errInUse = errors.New("the data directory is in use by another process")

// The lock file and Raft's folder. Every record has a file of its own besides.
const (
	lockFile   = "lock"
	raftFolder = "raft"
)

// Dir is what a process keeps on disk: who it is, which cluster it follows,
// and Raft's files. While it is open no other process can open it.
//
// All methods may be called from several goroutines.
type Dir struct {
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
	// keyring is the content of the keyring file if everything is in memory.
	keyring []byte
	closed  bool
}

// Open opens the directory, or makes it and a new id. It raises the
// counter of the incarnation, synced, before it returns. An empty path keeps
// everything in memory: then every start is a new id.
func Open(path string, program release.Range) (*Dir, error) {
	d := &Dir{identity: ring.Identity{Nonce: randomUint64()}, program: program, release: program.Oldest}
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

func (d *Dir) open() error {
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

func (d *Dir) file(name string) string { return filepath.Join(d.path, name) }

// Path is the directory; empty when everything is kept in memory.
func (d *Dir) Path() string { return d.path }

// Identity is this process: the id of the directory and the incarnation of this
// start.
func (d *Dir) Identity() ring.Identity { return d.identity }

// Volatile reports whether everything is kept in memory, so that the next start is a new
// process.
func (d *Dir) Volatile() bool { return d.path == "" }

// RaftDir is the folder for Raft's files; empty when all is in memory.
func (d *Dir) RaftDir() string {
	if d.path == "" {
		return ""
	}
	return d.file(raftFolder)
}

// Close lets other processes in. It may be called twice.
func (d *Dir) Close() error {
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

// makeDir makes a directory if it is not there, and syncs its name.
func makeDir(path string) error {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return nil
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(path))
}
