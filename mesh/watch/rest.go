package watch

import "time"

// A reader that is too slow repeatedly begins again only after leastLag, and then after twice as
// long each time, up to mostLag, until it has kept up for lagForgotten: reading everything is
// expensive.
const (
	leastLag     = 250 * time.Millisecond
	mostLag      = 10 * time.Second
	lagForgotten = 30 * time.Second
)

// rests makes the reader rest for d. The reader does not rest if d is not positive.
func (w *watcher) rests(d time.Duration) {
	if rests := d > 0; rests != w.resting {
		w.resting = rests
		if rests {
			w.budget.resting.Add(1)
		} else {
			w.budget.resting.Add(-1)
		}
	}
	w.quiet = time.Now().Add(min(d, restMost))
}

// lags begins a pause because the reader was too slow, unless that is the first time.
func (w *watcher) lags(now time.Time) {
	if w.lagged.IsZero() || now.Sub(w.lagged) > w.lag+lagForgotten {
		w.lag = 0
	} else {
		w.lag = min(max(2*w.lag, leastLag), mostLag)
	}
	w.lagged, w.retry = now, now.Add(w.lag)
}
