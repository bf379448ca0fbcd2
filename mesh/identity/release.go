package identity

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
)

// releaseFile says which release a program needs to read the directory: the highest of a
// view that its processes have followed (W1). Until the view's release has risen, a newer
// program writes nothing that the older one cannot read.
const releaseFile = "release"

// readRelease refuses a directory that this program cannot read, before it looks at
// anything else there. A directory that was never used gets the record first.
func (d *Dir) readRelease() error {
	data, err := os.ReadFile(d.file(releaseFile))
	if err == nil {
		if d.release, err = decodeRelease(data); err == nil {
			err = d.program.Check(d.release)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", releaseFile, err)
		}
		return nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if _, err := os.Lstat(d.file(identityFile)); err == nil {
		return fmt.Errorf("%w; start with an empty directory, see docs/upgrade.md", d.program.Check(0))
	}
	return writeSynced(d.file(releaseFile), encodeRelease(d.release))
}

// RaiseRelease notes that the directory's process follows a view of a release, synced.
func (d *Dir) RaiseRelease(n uint32) error {
	d.writing.Lock()
	defer d.writing.Unlock()
	d.mu.Lock()
	raise := n > d.release && !d.closed
	d.mu.Unlock()
	if !raise {
		return nil
	}
	if d.path != "" {
		if err := writeSynced(d.file(releaseFile), encodeRelease(n)); err != nil {
			return fmt.Errorf("%s: %w", releaseFile, err)
		}
	}
	d.mu.Lock()
	d.release = n
	d.mu.Unlock()
	return nil
}

func encodeRelease(n uint32) []byte {
	return encodeRecord("release", []recordField{{"release", strconv.FormatUint(uint64(n), 10)}})
}

func decodeRelease(data []byte) (uint32, error) {
	values, err := decodeRecord("release", data, "release")
	if err != nil {
		return 0, err
	}
	n, err := parseCount("release", values[0])
	if err != nil || n == 0 || n > 1<<31 {
		return 0, fmt.Errorf("%w: release is %q", errDamaged, values[0])
	}
	return uint32(n), nil
}
