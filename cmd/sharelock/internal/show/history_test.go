package show

import (
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
)

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
