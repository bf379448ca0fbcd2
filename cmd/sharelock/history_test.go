package main

import (
	"testing"
	"time"
)

func TestMoment(t *testing.T) {
	for _, tt := range []struct {
		text string
		want time.Time // zero is an error
	}{
		{"2026-01-02T03:04:05Z", time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)},
		{"2026-01-02T03:04:05.5+01:00", time.Date(2026, 1, 2, 2, 4, 5, 5e8, time.UTC)},
		{"2026-01-02 03:04:05", time.Date(2026, 1, 2, 3, 4, 5, 0, time.Local)},
		{"2026-01-02", time.Date(2026, 1, 2, 0, 0, 0, 0, time.Local)},
		{"yesterday", time.Time{}},
		{"-5m", time.Time{}},
		{"", time.Time{}},
	} {
		var m moment
		if err := m.Set(tt.text); (err != nil) != tt.want.IsZero() || !time.Time(m).Equal(tt.want) {
			t.Errorf("%q is %v, %v", tt.text, time.Time(m), err)
		}
	}
	var m moment
	before := time.Now()
	if err := m.Set("10m"); err != nil || time.Time(m).Before(before.Add(-10*time.Minute)) || time.Time(m).After(time.Now().Add(-10*time.Minute)) {
		t.Errorf("10m is %v, %v", time.Time(m), err)
	}
}
