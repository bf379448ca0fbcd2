package main

import (
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
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

func TestHistoryRow(t *testing.T) {
	begin := time.Date(2026, 1, 2, 3, 4, 5, 0, time.Local)
	for _, tt := range []struct {
		hold sharelock.PastHold
		want string
	}{
		{
			sharelock.PastHold{Token: 7, ClientID: "a", Principal: "p", Acquired: begin, Waited: 1500 * time.Millisecond, WaitKnown: true, Ended: begin.Add(time.Minute), End: sharelock.EndForced, By: "ops"},
			"p a|EXCLUSIVE|2026-01-02 03:04:05.000|1m|1.5s|forced by ops|7",
		},
		{sharelock.PastHold{Token: 7, ClientID: "a", Mode: sharelock.Shared, Acquired: begin, WaitKnown: true}, "a|SHARED|2026-01-02 03:04:05.000|?|0s|held|7"},
		{sharelock.PastHold{Token: 7, Ended: begin, End: sharelock.EndLost}, "?|EXCLUSIVE|?|?|?|lost|7"},
	} {
		got := ""
		for i, cell := range historyRow(&tt.hold) {
			if i > 0 {
				got += "|"
			}
			got += cell
		}
		if got != tt.want {
			t.Errorf("%s\nwant %s", got, tt.want)
		}
	}
}
