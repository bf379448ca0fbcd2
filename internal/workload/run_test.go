package workload

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sgkandale/sharelock/internal/virtual"
)

// fake is a lock service whose calls take a fixed time, and which can stall.
type fake struct {
	acquire, release time.Duration
	stallAt, stall   time.Duration
	start            time.Time
	err              func(key string) error

	mu   sync.Mutex
	keys map[string]chan struct{} // a token in the channel is a free lock
	got  map[string]int
}

func (f *fake) Acquire(ctx context.Context, key string) (Held, error) {
	if f.err != nil {
		if err := f.err(key); err != nil {
			return nil, err
		}
	}
	time.Sleep(f.acquire)
	if since := time.Since(f.start); since >= f.stallAt && since < f.stallAt+f.stall {
		time.Sleep(f.stallAt + f.stall - since)
	}
	f.mu.Lock()
	free := f.keys[key]
	if free == nil {
		free = make(chan struct{}, 1)
		free <- struct{}{}
		f.keys[key] = free
	}
	f.mu.Unlock()
	select {
	case <-free:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	f.mu.Lock()
	f.got[key]++
	f.mu.Unlock()
	return fakeHeld{f, free}, nil
}

type fakeHeld struct {
	f    *fake
	free chan struct{}
}

func (h fakeHeld) Release(context.Context) error {
	time.Sleep(h.f.release)
	h.free <- struct{}{}
	return nil
}

// drive runs a load in virtual time.
func drive(t *testing.T, f *fake, o Options) *Result {
	t.Helper()
	var res *Result
	virtual.Test(t, func(t *testing.T) {
		f.start, f.keys, f.got = time.Now(), make(map[string]chan struct{}), make(map[string]int)
		var err error
		if res, err = Run(t.Context(), func(int) Locker { return f }, o); err != nil {
			t.Fatal(err)
		}
	})
	return res
}

func near[T ~int64 | ~float64](t *testing.T, name string, got, want T) {
	t.Helper()
	if g, w := float64(got), float64(want); g < 0.98*w || g > 1.02*w {
		t.Errorf("%s: got %v, want %v", name, got, want)
	}
}

func TestClosedLoop(t *testing.T) {
	f := &fake{acquire: 3 * time.Millisecond, release: time.Millisecond}
	res := drive(t, f, Options{Workers: 8, Hold: 6 * time.Millisecond, Warmup: time.Second, Duration: 10 * time.Second})
	near(t, "pairs/s", res.PairsPerSecond, 800)
	near(t, "acquire p50", res.Acquire.P50, 3*time.Millisecond)
	near(t, "release max", res.Release.Max, time.Millisecond)
	near(t, "jain", res.Fairness.Jain, 1)
	if res.HandOver != nil || res.Sent != nil || res.Failed() != 0 || res.Measured != 10*time.Second {
		t.Errorf("got %+v", res)
	}
	if len(f.got) != 8 {
		t.Errorf("%d keys were used, want one for each worker", len(f.got))
	}
}

func TestHandOver(t *testing.T) {
	f := &fake{acquire: 0, release: 2 * time.Millisecond}
	res := drive(t, f, Options{Workers: 4, Keys: 1, Hold: 3 * time.Millisecond, Duration: 10 * time.Second})
	near(t, "pairs/s", res.PairsPerSecond, 200)
	near(t, "hand-over p50", res.HandOver.P50, 2*time.Millisecond)
	near(t, "acquire p50", res.Acquire.P50, 15*time.Millisecond)
	near(t, "ratio", res.Fairness.Ratio(), 1)
	if res = drive(t, f, Options{Workers: 4, Keys: 1, Shared: true, Duration: time.Second}); res.HandOver != nil {
		t.Errorf("a hand-over of shared locks: %+v", res.HandOver)
	}
}

// In a closed loop, a stall of a second affects only the calls in flight; with a fixed rate, all that were
// due during it.
func TestCoordinatedOmission(t *testing.T) {
	stalled := func() *fake {
		return &fake{acquire: time.Millisecond, stallAt: 5 * time.Second, stall: time.Second}
	}
	closed := drive(t, stalled(), Options{Workers: 1, Duration: 10 * time.Second})
	near(t, "closed loop, p99", closed.Acquire.P99, time.Millisecond)
	open := drive(t, stalled(), Options{Workers: 1, Rate: 100, Duration: 10 * time.Second})
	near(t, "at a rate, pairs/s", open.PairsPerSecond, 100)
	near(t, "at a rate, p50", open.Acquire.P50, time.Millisecond)
	if open.Acquire.P99 < 800*time.Millisecond {
		t.Errorf("at a rate, p99: got %v, want most of the stall: a tenth of the acquires were due in it", open.Acquire.P99)
	}
	near(t, "at a rate, from send, p99", open.Sent.P99, time.Millisecond)
	if open.Acquire.Count != 1000 || open.Unsent != 0 {
		t.Errorf("%d acquires and %d unsent, want all 1000 that were due", open.Acquire.Count, open.Unsent)
	}
}

// Acquires that were due and never sent must be reported.
func TestRateThatIsTooHigh(t *testing.T) {
	f := &fake{acquire: 10 * time.Millisecond}
	res := drive(t, f, Options{Workers: 1, Rate: 1000, Warmup: 2 * time.Second, Duration: 8 * time.Second})
	near(t, "pairs/s", res.PairsPerSecond, 100)
	if sum := res.Acquire.Count; sum != 8000 {
		t.Errorf("%d acquires count, want all 8000 that were due after the warm-up", sum)
	}
	if res.Unsent < 7900 {
		t.Errorf("%d unsent, want nearly all", res.Unsent)
	}
}

func TestNoAnswer(t *testing.T) {
	var res *Result
	virtual.Test(t, func(t *testing.T) {
		hang := hanging{after: time.Now().Add(5 * time.Second)}
		res, _ = Run(t.Context(), func(int) Locker { return hang }, Options{Workers: 2, Rate: 10, Duration: 10 * time.Second})
	})
	if res.Errors[noAnswer] != 2 || res.Unsent != 48 {
		t.Errorf("got %v and %d unsent, want the 2 that hung, and the 48 behind them", res.Errors, res.Unsent)
	}
	if res.Acquire.Max < 9*time.Second {
		t.Errorf("the longest acquire: got %v, want what the hanging ones have waited", res.Acquire.Max)
	}
}

// hanging answers nothing after a moment.
type hanging struct{ after time.Time }

func (h hanging) Acquire(ctx context.Context, _ string) (Held, error) {
	if time.Now().Before(h.after) {
		return h, nil
	}
	<-ctx.Done()
	return nil, ctx.Err()
}

func (h hanging) Release(context.Context) error { return nil }

func TestErrors(t *testing.T) {
	f := &fake{acquire: time.Millisecond, err: func(key string) error {
		if strings.HasSuffix(key, "1") {
			return errors.New("no")
		}
		return nil
	}}
	res := drive(t, f, Options{Workers: 2, Prefix: "k", Duration: time.Second, Kind: func(err error) string { return "it said " + err.Error() }})
	if n := res.Errors["it said no"]; n != 100 || res.Failed() != n {
		t.Errorf("got %v, want 100, one every 10 ms", res.Errors)
	}
	if res.Fairness.Laziest != 0 || res.Fairness.Ratio() != 0 || res.Fairness.Jain != 0.5 {
		t.Errorf("got %+v, want one worker without a pair", res.Fairness)
	}
}

func TestKeysAndContention(t *testing.T) {
	f := &fake{acquire: time.Millisecond}
	drive(t, f, Options{Workers: 4, Keys: 10, Contention: 0.5, Prefix: "k/", Duration: 20 * time.Second})
	var sum int
	for _, n := range f.got {
		sum += n
	}
	if len(f.got) != 11 {
		t.Errorf("%d keys were used, want 10 and the hot one", len(f.got))
	}
	near(t, "share of the hot key", float64(f.got["k/hot"])/float64(sum), 0.5)
}

func TestEndedEarly(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		f := &fake{acquire: time.Millisecond, start: time.Now(), keys: make(map[string]chan struct{}), got: make(map[string]int)}
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		var ticks []Progress
		res, err := Run(ctx, func(int) Locker { return f }, Options{
			Workers: 2, Warmup: time.Second, Duration: time.Minute, Progress: func(p Progress) { ticks = append(ticks, p) },
		})
		if err != nil {
			t.Fatal(err)
		}
		near(t, "measured", res.Measured, 2*time.Second)
		near(t, "pairs/s", res.PairsPerSecond, 2000)
		if len(ticks) < 2 || len(ticks) > 3 || ticks[1].Total != 61*time.Second || ticks[1].Warmup {
			t.Errorf("progress: %+v", ticks)
		}
		near(t, "progress, pairs/s", ticks[1].PairsPerSecond, 2000)
	})
}

func TestOptions(t *testing.T) {
	_, err := Run(t.Context(), nil, Options{Keys: -1, Contention: 2, Hold: -1, Warmup: -1, Rate: -1})
	for _, name := range []string{"workers", "keys", "contention", "hold", "warmup", "duration", "rate"} {
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("the error does not name %s: %v", name, err)
		}
	}
}
