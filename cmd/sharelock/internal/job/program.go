package job

import (
	"bytes"
	"debug/elf"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"github.com/sgkandale/sharelock/cmd/sharelock/internal/exit"
)

// DefaultShell runs scripts that do not name their interpreter.
const DefaultShell = "/bin/sh"

// headBytes is how many bytes of a file are read to find out what kind of program it is.
const headBytes = 256

// lookUp finds the command as a shell would. It also detects what would keep the command from
// running, as far as that is possible without running it, so that this is reported before the
// lock is waited for.
func lookUp(name string) (string, error) {
	path, err := exec.LookPath(name)
	switch {
	case err == nil, errors.Is(err, exec.ErrDot): // a shell runs what it finds in "."
		return path, runnable(path)
	case errors.Is(err, exec.ErrNotFound) && !strings.ContainsRune(name, filepath.Separator) && inPath(name):
		return "", &exit.Error{Code: exit.CannotRun, Err: &exec.Error{Name: name, Err: fs.ErrPermission}}
	default:
		return "", cannotRun(err)
	}
}

// inPath reports whether the path contains a file of this name; it may not be executable.
func inPath(name string) bool {
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		if info, err := os.Stat(filepath.Join(dir, name)); err == nil && info.Mode().IsRegular() {
			return true
		}
	}
	return false
}

// cannotRun returns the error of starting a command with the exit code that shells use.
func cannotRun(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, exec.ErrNotFound) {
		return &exit.Error{Code: exit.NotFound, Err: err}
	}
	return &exit.Error{Code: exit.CannotRun, Err: err}
}

// runnable returns an error if the program's interpreter is missing or cannot be run. It leaves
// files that it cannot read to the kernel.
func runnable(path string) error {
	for range 5 { // the kernel's limit for nested interpreters
		if isForeign(path) {
			return cannotRun(&exec.Error{Name: path, Err: syscall.ENOEXEC})
		}
		name := interpreter(path)
		if name == "" {
			return nil
		}
		info, err := os.Stat(name)
		if err == nil && (info.IsDir() || info.Mode().Perm()&0o111 == 0) {
			err = &fs.PathError{Op: "exec", Path: name, Err: fs.ErrPermission}
		}
		if err != nil {
			return cannotRun(&exec.Error{Name: path, Err: err})
		}
		path = name
	}
	return nil
}

// interpreter returns the program that the kernel starts to run the file at path: the
// interpreter of a script or of a dynamically linked program. It is empty if there is none.
func interpreter(path string) string {
	if name, ok := bytes.CutPrefix(head(path), []byte("#!")); ok {
		name, _, _ = bytes.Cut(name, []byte("\n"))
		if fields := bytes.Fields(name); len(fields) > 0 {
			return string(fields[0])
		}
		return ""
	}
	f, err := elf.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close() //nolint:errcheck // it was only read
	for _, p := range f.Progs {
		if p.Type != elf.PT_INTERP {
			continue
		}
		name, err := io.ReadAll(io.LimitReader(p.Open(), headBytes))
		if err != nil {
			return ""
		}
		return string(bytes.TrimRight(name, "\x00"))
	}
	return ""
}

// isForeign reports whether neither Linux nor a shell would run a file.
func isForeign(path string) bool {
	if runtime.GOOS != "linux" || bytes.HasPrefix(head(path), []byte(elf.ELFMAG)) || !isBinary(path) {
		return false
	}
	formats, err := os.ReadDir("/proc/sys/fs/binfmt_misc")
	return err != nil || len(formats) <= 2 // the entries are register and status: no other formats are registered
}

// isBinary reports whether a file that the kernel cannot run is not a script either: like
// shells, it looks for a NUL in the first line.
func isBinary(path string) bool {
	line, _, _ := bytes.Cut(head(path), []byte("\n"))
	return bytes.IndexByte(line, 0) >= 0
}

// head returns the beginning of a file, or nil if it cannot be read.
func head(path string) []byte {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close() //nolint:errcheck // it was read
	buf := make([]byte, headBytes)
	n, err := io.ReadFull(f, buf)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return buf[:n]
}
