package identity

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/sgkandale/sharelock/ring"
)

// A recovery replaces Raft's files and the promise in one step: the new files are written
// to a folder that names the new cluster, then the promise to that cluster is written. From
// then on the next start finishes what is left. Before, it removes the folder.
const (
	recoveredPrefix = "recovered-"
	// oldRaftPrefix begins the name of the folder that keeps Raft's files of before; the rest
	// is the id of the cluster that replaced them.
	oldRaftPrefix = "raft-before-"
)

// RecoveredDir is the folder for Raft's files of a cluster that this directory is recovered
// for.
func (d *Dir) RecoveredDir(clusterID []byte) string {
	return d.file(recoveredPrefix + hex.EncodeToString(clusterID))
}

// TakeRecovered makes this directory one of the cluster whose files are in RecoveredDir.
func (d *Dir) TakeRecovered(clusterID []byte) error {
	// The founder is zero: nobody can found this cluster again (V0).
	if err := d.SetPromise(clusterID, ring.Identity{}); err != nil {
		return err
	}
	return d.finishRecovery()
}

// finishRecovery moves the files of a recovery that was decided to their place, and removes
// those of one that was not.
func (d *Dir) finishRecovery() error {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return err
	}
	follows, _, _ := d.Promise()
	ours := hex.EncodeToString(follows)
	for _, e := range entries {
		id, found := strings.CutPrefix(e.Name(), recoveredPrefix)
		switch {
		case !found:
			continue
		case id != ours || ours == "":
			err = os.RemoveAll(d.file(e.Name()))
		default:
			err = d.swapRaft(e.Name(), oldRaftPrefix+id)
		}
		if err != nil {
			return fmt.Errorf("finish the recovery %s: %w", id, err)
		}
	}
	return SyncDir(d.path)
}

// swapRaft gives Raft's folder another name, and its name to a new one.
func (d *Dir) swapRaft(newer, old string) error {
	// Of two renames the first may have been made before a crash.
	if err := os.Rename(d.file(raftFolder), d.file(old)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := SyncDir(d.path); err != nil {
		return err
	}
	return os.Rename(d.file(newer), d.file(raftFolder))
}
