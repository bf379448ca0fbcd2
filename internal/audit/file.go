package audit

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
)

// stream is a sink that cannot be opened again, such as stderr.
type stream struct{ w io.Writer }

func (s stream) Write(p []byte) (int, error) { return s.w.Write(p) }
func (stream) Reopen() error                 { return nil }
func (stream) Close() error                  { return nil }

// file is a sink that rotates: path is the current file, path.1 the newest of those before it.
type file struct {
	path string
	// max is the size at which the file is rotated, 0 for never; keep is how many rotated files
	// are kept.
	max  int64
	keep int

	f    *os.File
	size int64
	// limit is the size of the next rotation. It is above max after a rotation that failed.
	limit int64
}

func openFile(path string, most int64, keep int) (*file, error) {
	o := &file{path: path, max: most, keep: keep}
	return o, o.Reopen()
}

// Reopen implements sink. If the file cannot be opened, the old one stays in use.
func (o *file) Reopen() error {
	f, size, err := openAppend(o.path)
	if err != nil {
		return err
	}
	if o.f != nil {
		o.f.Close() //nolint:errcheck,gosec // every write has reported its own error
	}
	o.f, o.size, o.limit = f, size, o.max
	return nil
}

// openAppend opens a file to append whole lines. Only its owner may read it.
func openAppend(path string) (f *os.File, size int64, err error) {
	// Opening a pipe that nobody reads would block.
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() && info.Mode()&fs.ModeCharDevice == 0 {
		return nil, 0, fmt.Errorf("%s is neither a file nor a terminal", path)
	}
	if err == nil && !info.Mode().IsRegular() {
		f, err = os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
		return f, 0, err
	}
	f, err = os.OpenFile(path, os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return nil, 0, err
	}
	if size, err = endLine(f); err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, size, nil
}

// endLine ends the last line of f if a crash has left a part of one, and returns the size.
func endLine(f *os.File) (int64, error) {
	info, err := f.Stat()
	if err != nil || info.Size() == 0 {
		return 0, err
	}
	last := make([]byte, 1)
	if _, err := f.ReadAt(last, info.Size()-1); err != nil {
		return 0, err
	}
	if last[0] == '\n' {
		return info.Size(), nil
	}
	if _, err := f.Write([]byte("\n")); err != nil {
		return 0, err
	}
	return info.Size() + 1, nil
}

// Write implements sink. It rotates the file first if p does not fit.
func (o *file) Write(p []byte) (int, error) {
	if o.max > 0 && o.size > 0 && o.size+int64(len(p)) > o.limit {
		if err := o.rotate(); err != nil {
			// The lines matter more than the size. Try again when as much again is written.
			o.limit = o.size + o.max
		}
	}
	n, err := o.f.Write(p)
	o.size += int64(n)
	return n, err
}

// rotate moves path to path.1, path.1 to path.2, and so on, and starts a new file.
func (o *file) rotate() error {
	if o.keep == 0 {
		if err := os.Remove(o.path); err != nil {
			return err
		}
		return o.Reopen()
	}
	for i := o.keep - 1; i >= 1; i-- {
		err := os.Rename(o.numbered(i), o.numbered(i+1))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := os.Rename(o.path, o.numbered(1)); err != nil {
		return err
	}
	return o.Reopen()
}

func (o *file) numbered(i int) string { return o.path + "." + strconv.Itoa(i) }

// Close implements sink.
func (o *file) Close() error { return o.f.Close() }
