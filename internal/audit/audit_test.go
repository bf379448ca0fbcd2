package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/sgkandale/sharelock/internal/virtual"
)

// fakeDisk is a sink that fails or hangs as a test requires.
type fakeDisk struct {
	mu     sync.Mutex
	data   bytes.Buffer
	room   int   // bytes that still fit if full is set
	full   error // nil: everything fits
	hang   chan struct{}
	opened int
	closed bool
}

func (d *fakeDisk) Write(p []byte) (int, error) {
	d.mu.Lock()
	hang := d.hang
	d.mu.Unlock()
	if hang != nil {
		<-hang
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.full == nil {
		return d.data.Write(p)
	}
	n := min(d.room, len(p))
	d.room -= n
	d.data.Write(p[:n])
	return n, d.full
}

func (d *fakeDisk) Reopen() error { d.mu.Lock(); defer d.mu.Unlock(); d.opened++; return nil }
func (d *fakeDisk) Close() error  { d.mu.Lock(); defer d.mu.Unlock(); d.closed = true; return nil }

func (d *fakeDisk) set(full error, room int, hang chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.full, d.room, d.hang = full, room, hang
}

func (d *fakeDisk) text() string { d.mu.Lock(); defer d.mu.Unlock(); return d.data.String() }

// parsed decodes the lines of a log. A torn line fails the test unless torn allows one.
func parsed(t *testing.T, text string, torn int) (lines []map[string]any) {
	t.Helper()
	for line := range strings.SplitSeq(strings.TrimSuffix(text, "\n"), "\n") {
		var v map[string]any
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			if torn--; torn < 0 {
				t.Errorf("not JSON: %q: %v", line, err)
			}
			continue
		}
		lines = append(lines, v)
	}
	return lines
}

func TestLine(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		d := new(fakeDisk)
		l := start(Config{Node: "a", Calls: true}, d)
		l.Record(t.Context(), Event{
			Principal: "ci", Credential: "token", Remote: "10.0.0.9:4711", Door: "http", Method: "Acquire", Verb: "acquire", Key: "k\n\"x",
			Result: Denied, Token: 1<<63 - 1, Rule: "ci: ci/", Reason: strings.Repeat("ä", 1000),
		})
		got := parsed(t, d.text(), 0) // written before Record returned
		if len(got) != 1 {
			t.Fatalf("%d lines", len(got))
		}
		for field, want := range map[string]string{
			"node": "a", "principal": "ci", "credential": "token", "remote": "10.0.0.9:4711", "door": "http", "method": "Acquire",
			"verb": "acquire", "key": "k\n\"x", "result": "denied", "token": "9223372036854775807", "rule": "ci: ci/",
			"reason": strings.Repeat("ä", 256), "time": time.Now().UTC().Format(time.RFC3339Nano),
		} {
			if got[0][field] != want {
				t.Errorf("%s is %v, want %q", field, got[0][field], want)
			}
		}
		l.Call(Event{Method: "Release", Result: Allowed})
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if lines := parsed(t, d.text(), 0); len(lines) != 2 || len(lines[1]) != 4 {
			t.Errorf("Close did not write the last line, or an empty field is in it: %v", lines)
		}
		if !d.closed || l.Dropped() != 0 {
			t.Errorf("closed %t, %d dropped", d.closed, l.Dropped())
		}
		l.Record(t.Context(), Event{Result: Denied})
		if l.Dropped() != 1 {
			t.Error("a line after Close is not counted as lost")
		}
	})
}

// A nil log is off, and calls of it do nothing.
func TestOff(t *testing.T) {
	l, err := Open(Config{})
	if l != nil || err != nil {
		t.Fatal(l, err)
	}
	l.Record(t.Context(), Event{})
	l.Call(Event{})
	l.Reopen()
	if l.Calls() || l.Dropped() != 0 || l.Close() != nil {
		t.Error("a nil log does something")
	}
	if n := testing.AllocsPerRun(100, func() {
		if l.Calls() {
			l.Call(Event{Key: "k"})
		}
	}); n != 0 {
		t.Errorf("a log that is off allocates %v times a call", n)
	}
	d := new(fakeDisk)
	l = start(Config{}, d)
	l.Call(Event{Result: Allowed})
	if err := l.Close(); err != nil || d.text() != "" {
		t.Errorf("without audit.calls a call is written: %q, %v", d.text(), err)
	}
}

// The disk hangs: the first caller waits 100 ms, the others not at all, ordinary calls never. Lines that
// do not fit into the queue are lost, counted, and marked when the disk works again.
func TestHangingDisk(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		d := new(fakeDisk)
		hang := make(chan struct{})
		d.set(nil, 0, hang)
		var logged bytes.Buffer
		l := start(Config{Node: "a", Calls: true, Log: slog.New(slog.NewTextHandler(&logged, nil))}, d)
		began := time.Now()
		l.Record(t.Context(), Event{Result: Denied, Key: "first"})
		if took := time.Since(began); took != Wait {
			t.Errorf("the first line took %v, want %v", took, Wait)
		}
		began = time.Now()
		for range 2 * queueLines {
			l.Record(t.Context(), Event{Result: Denied})
			l.Call(Event{Result: Allowed})
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("lines behind a hanging disk took %v", took)
		}
		lost := l.Dropped()
		if want := uint64(4*queueLines - queueLines); lost != want {
			t.Errorf("%d lines are lost, want %d", lost, want)
		}
		if !strings.Contains(logged.String(), "calls no longer wait") {
			t.Errorf("the log does not say that the disk hangs: %s", logged.String())
		}
		if err := l.Close(); err == nil {
			t.Error("Close says that everything is written")
		}
		d.set(nil, 0, nil)
		close(hang)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		var written, marked int
		for _, line := range parsed(t, d.text(), 0) {
			if gap, _ := line["gap"].(bool); gap {
				marked += int(line["dropped"].(float64))
			} else {
				written++
			}
		}
		if uint64(marked) != lost || written != queueLines+1 {
			t.Errorf("%d lines are written and %d marked as lost, want %d and %d", written, marked, queueLines+1, lost)
		}
	})
}

// After a hang callers wait again.
func TestWaitsAgain(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		d := new(fakeDisk)
		hang := make(chan struct{})
		d.set(nil, 0, hang)
		l := start(Config{}, d)
		l.Record(t.Context(), Event{Result: Denied, Key: "one"})
		d.set(nil, 0, nil)
		close(hang)
		l.Record(t.Context(), Event{Result: Denied, Key: "two"}) // may not wait yet
		synctest.Wait()
		l.Record(t.Context(), Event{Result: Denied, Key: "three"})
		if !strings.Contains(d.text(), "three") {
			t.Error("Record returned before the line was written")
		}
		// A caller whose context has ended does not wait.
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		hang = make(chan struct{})
		d.set(nil, 0, hang)
		began := time.Now()
		l.Record(ctx, Event{Result: Denied})
		if time.Since(began) != 0 {
			t.Error("Record waits for a caller that is gone")
		}
		close(hang)
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
}

// The disk becomes full in the middle of a line, and has space later. The torn line is ended, and the gap is
// marked even if no other line comes.
func TestFullDisk(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		d := new(fakeDisk)
		var logged bytes.Buffer
		l := start(Config{Node: "a", Log: slog.New(slog.NewTextHandler(&logged, nil))}, d)
		d.set(errors.New("no space left on device"), 10, nil)
		for i := range 3 {
			l.Record(t.Context(), Event{Result: Denied, Key: fmt.Sprint("lost", i)})
		}
		time.Sleep(5 * retryEvery)
		synctest.Wait()
		if l.Dropped() != 3 || strings.Count(logged.String(), "level=ERROR") != 1 || d.opened == 0 {
			t.Errorf("%d lines dropped, opened again %d times, log: %s", l.Dropped(), d.opened, logged.String())
		}
		d.set(nil, 0, nil)
		time.Sleep(2 * retryEvery)
		synctest.Wait()
		lines := parsed(t, d.text(), 1)
		if len(lines) != 1 || lines[0]["dropped"] != 3.0 || lines[0]["reason"] != "no space left on device" {
			t.Errorf("the gap is not marked once: %q", d.text())
		}
		if !strings.Contains(logged.String(), "written again") {
			t.Errorf("the log does not say that the disk is back: %s", logged.String())
		}
		l.Record(t.Context(), Event{Result: Denied, Key: "later"})
		if lines := parsed(t, d.text(), 1); len(lines) != 2 || lines[1]["key"] != "later" {
			t.Errorf("after the gap: %q", d.text())
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestRotation(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	l, err := Open(Config{File: path, MaxBytes: MinBytes, Keep: 2})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 8000 {
		l.Record(t.Context(), Event{Result: Denied, Key: fmt.Sprint(i), Reason: strings.Repeat("x", maxText)})
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	next := 7999
	for _, name := range []string{path, path + ".1", path + ".2"} {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if len(data) > MinBytes {
			t.Errorf("%s has %d bytes", name, len(data))
		}
		lines := parsed(t, string(data), 0)
		for _, line := range slices.Backward(lines) {
			if line["key"] != fmt.Sprint(next) {
				t.Fatalf("%s has %v where %d was written", name, line["key"], next)
			}
			next--
		}
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v, %v", name, info.Mode(), err)
		}
	}
	if _, err := os.Stat(path + ".3"); err == nil {
		t.Error("more files than audit.keep")
	}
}

// An operator moves the file away and asks to open it again. The torn line of a crash is ended.
func TestReopen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	if err := os.WriteFile(path, []byte(`{"half":`), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := Open(Config{File: path})
	if err != nil {
		t.Fatal(err)
	}
	l.Record(t.Context(), Event{Result: Denied, Key: "old"})
	if err := os.Rename(path, path+".moved"); err != nil {
		t.Fatal(err)
	}
	l.Reopen()
	for range 1000 { // the writer opens it when it notices the request, before or after a line
		l.Record(t.Context(), Event{Result: Denied, Key: "new"})
		if _, err := os.Stat(path); err == nil {
			break
		}
	}
	l.Record(t.Context(), Event{Result: Denied, Key: "last"})
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	moved, _ := os.ReadFile(path + ".moved")
	if lines := parsed(t, string(moved), 1); len(lines) == 0 || lines[0]["key"] != "old" {
		t.Errorf("the old file has %q", moved)
	}
	fresh, _ := os.ReadFile(path)
	if !strings.Contains(string(fresh), `"last"`) || strings.Contains(string(fresh), `"old"`) {
		t.Errorf("the new file has %q", fresh)
	}
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	for name, cfg := range map[string]Config{
		"audit.file":      {File: dir},
		"no such file":    {File: filepath.Join(dir, "no", "such")},
		"audit.max_bytes": {File: filepath.Join(dir, "a"), MaxBytes: 5},
		"audit.keep":      {File: filepath.Join(dir, "a"), Keep: -1},
	} {
		if l, err := Open(cfg); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v, %v", name, l, err)
		}
	}
	if err := (Config{Calls: true}).Validate(); err == nil {
		t.Error("audit.calls without audit.file is valid")
	}
}

func TestClip(t *testing.T) {
	for _, s := range []string{strings.Repeat("x", 3*maxText), strings.Repeat("€", maxText), strings.Repeat("\xff", 2*maxText)} {
		if got := clip(s); len(got) > maxText || len(got) < maxText-utf8.UTFMax || utf8.ValidString(s) && !utf8.ValidString(got) {
			t.Errorf("%d bytes of %q...", len(got), got[:9])
		}
	}
}
