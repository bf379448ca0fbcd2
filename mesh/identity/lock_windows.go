package identity

import (
	"errors"
	"os"

	"golang.org/x/sys/windows"
)

// lockExclusive opens a file and locks it for this open file alone, without
// waiting. The lock ends when the file is closed or the process dies.
func lockExclusive(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	err = windows.LockFileEx(windows.Handle(f.Fd()),
		windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, &windows.Overlapped{})
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) {
		err = errInUse
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// SyncDir has nothing to do: NTFS journals names, and a directory cannot be
// opened for syncing.
func SyncDir(string) error { return nil }
