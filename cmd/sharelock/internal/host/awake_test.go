package host

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// device records what is written to it.
type device struct {
	bytes.Buffer
	fail   error
	closed bool
}

func (d *device) Write(p []byte) (int, error) {
	if d.fail != nil {
		return 0, d.fail
	}
	return d.Buffer.Write(p)
}

func (d *device) Close() error {
	d.closed = true
	return nil
}

// The processors are kept awake from the first measurement with much work to the first with little. Each
// change is logged once.
func TestAwake(t *testing.T) {
	const stay, rest = "\x00\x00\x00\x00", "\xff\xff\xff\xff"
	var (
		d    device
		work uint64
	)
	a := &awake{device: &d, worked: func() uint64 { return work }}
	for i, step := range []struct {
		work  uint64 // before each measurement
		looks int
		want  string
	}{
		{busyCalls - 1, 20, ""},
		{busyCalls, 1, stay},
		{busyCalls, 30, ""},
		{idleCalls, 30, ""},
		{idleCalls - 1, 1, rest},
		{idleCalls, 30, ""},
		{0, 30, ""},
		{1000, 1, stay},
		{0, 1, rest},
	} {
		for range step.looks {
			work += step.work
			if err := a.look(); err != nil {
				t.Fatal(err)
			}
		}
		if got := d.String(); got != step.want {
			t.Errorf("step %d: said %q, want %q", i, got, step.want)
		}
		d.Reset()
	}
}

// If the device fails, the processors are no longer kept awake, and the log says so.
func TestAwakeFails(t *testing.T) {
	var log strings.Builder
	d := device{fail: errors.New("broken on purpose")}
	var work uint64
	a := &awake{device: &d, worked: func() uint64 { work += busyCalls; return work }, log: slog.New(slog.NewTextHandler(&log, nil))}
	tick := make(chan time.Time, 1)
	tick <- time.Time{}
	a.run(tick, nil)
	if !strings.Contains(log.String(), "broken on purpose") || !d.closed {
		t.Errorf("log %q, closed %v", log.String(), d.closed)
	}
}
