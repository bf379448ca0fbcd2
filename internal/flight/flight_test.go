package flight

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A file is written on request, the oldest are removed, and a nil recorder does nothing.
func TestRecorder(t *testing.T) {
	dir := t.TempDir()
	for i := range keep + 3 {
		old := filepath.Join(dir, fmt.Sprintf("%s2000010%d-000000.000%s", prefix, i, suffix))
		if err := os.WriteFile(old, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r, err := Start(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	path, err := r.write(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(path); err != nil || len(data) == 0 {
		t.Errorf("the trace has %d bytes: %v", len(data), err)
	}
	files, _ := filepath.Glob(filepath.Join(dir, "*"))
	if len(files) != keep || files[keep-1] != path {
		t.Errorf("the files are %v, want %d with %s", files, keep, path)
	}
	r.Want("a test")
	r.Want("another")
	r.Stop()
	r.Stop()
	var off *Recorder
	off.Want("nothing")
	off.Stop()
}

// If the directory cannot be written, the log says so, and the node continues.
func TestNoDirectory(t *testing.T) {
	var out bytes.Buffer
	r, err := Start(filepath.Join(t.TempDir(), "none"), slog.New(slog.NewTextHandler(&out, nil)))
	if err != nil {
		t.Fatal(err)
	}
	r.wanted <- "a fail-over"
	r.wanted <- "another" // the first was taken
	r.Stop()
	if got := out.String(); strings.Count(got, "has not written a trace") != 1 || !strings.Contains(got, "a fail-over") {
		t.Errorf("the log is %q", got)
	}
}
