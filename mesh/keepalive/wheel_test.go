package keepalive

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/sgkandale/sharelock/owner"
)

// Whatever a hold's TTL, it is due when its period is over, or a little earlier, and not in
// more rounds than it should be.
func TestWheels(t *testing.T) {
	const ample = 30 * time.Second
	for _, ttl := range []time.Duration{100 * time.Millisecond, time.Second, 10 * time.Second, 50 * time.Second, time.Minute, 24 * time.Hour} {
		t.Run(ttl.String(), func(t *testing.T) {
			var ws wheels
			period := renewPeriod(ttl, ample)
			now := 12345678 * time.Second
			began, last := map[*kept]time.Duration{}, map[*kept]time.Duration{}
			for i := range 200 {
				k := &kept{Renewal: owner.Renewal{Key: fmt.Sprint(i), TTL: ttl}}
				ws.renewed(now, now, ample, k)
				began[k] = now
				now += ttl / 1000
			}
			rounds, start := 0, now
			for now-start < 10*ttl {
				at, ok := ws.due()
				if !ok {
					t.Fatal("nothing is due any more")
				}
				if at > now {
					now = at + time.Duration(rand.Int64N(int64(ttl/200))) // timers are late
				}
				due := ws.take(now, nil, 1000)
				rounds++
				for _, k := range due {
					if age := now - began[k]; age < period-period/spread || age > period+period/roundsOf+ttl/100 {
						t.Fatalf("renewed after %v", age)
					}
					last[k], began[k] = now, now
					ws.renewed(now, now, ample, k)
				}
			}
			if len(last) != 200 {
				t.Errorf("%d of 200 were renewed", len(last))
			}
			if most := int(10 * ttl * 2 * roundsOf / (period - period/spread)); rounds > most {
				t.Errorf("%d rounds in 10 TTLs, want at most %d", rounds, most)
			}
		})
	}
}

// A renewal is due after a third of the TTL; later, but by half of it, if 30 s are left,
// or fifteen leases.
func TestRenewPeriod(t *testing.T) {
	for _, tt := range []struct{ ttl, lease, want time.Duration }{
		{3 * time.Second, 2 * time.Second, time.Second},
		{30 * time.Second, 2 * time.Second, 10 * time.Second},
		{45 * time.Second, 2 * time.Second, 15 * time.Second},
		{50 * time.Second, 2 * time.Second, 20 * time.Second},
		{time.Minute, 2 * time.Second, 30 * time.Second},
		{time.Minute, 100 * time.Millisecond, 30 * time.Second},
		{time.Hour, 2 * time.Second, 30 * time.Minute},
		{time.Minute, 4 * time.Second, 20 * time.Second},
		{time.Minute, 15 * time.Second, 20 * time.Second},
		{5 * time.Minute, 15 * time.Second, 100 * time.Second},
		{6 * time.Minute, 15 * time.Second, 135 * time.Second},
	} {
		if got := renewPeriod(tt.ttl, ample(tt.lease)); got != tt.want {
			t.Errorf("of a TTL of %v with a lease of %v: %v, want %v", tt.ttl, tt.lease, got, tt.want)
		}
	}
}

// Holds that were just attached are due soon, and together.
func TestWheelsAttached(t *testing.T) {
	for _, ttl := range []time.Duration{100 * time.Millisecond, 10 * time.Second, time.Minute} {
		var ws wheels
		start := 12345678 * time.Second
		const n = 1000
		dues := map[time.Duration]bool{}
		for i := range n {
			now := start + time.Duration(i)*ttl/soonest/n
			due := ws.attached(now, &kept{Renewal: owner.Renewal{TTL: ttl}})
			if due <= now || due > now+ttl/soonest {
				t.Errorf("with a TTL of %v one is due after %v", ttl, due-now)
			}
			dues[due] = true
		}
		if len(dues) > 3 {
			t.Errorf("with a TTL of %v those of %v are due at %d times", ttl, ttl/soonest, len(dues))
		}
		last := start + 2*ttl/soonest
		if got := len(ws.take(last, nil, 2*n)); got != n {
			t.Errorf("with a TTL of %v %d of %d are due", ttl, got, n)
		}
	}
}

// Those of a partition are taken together, whatever has gone meanwhile.
func TestWheelsByPartition(t *testing.T) {
	const partitions, n = 10, 5000
	var (
		ws  wheels
		all []*kept
	)
	now := time.Hour
	for i := range n {
		k := &kept{Renewal: owner.Renewal{TTL: time.Minute}, partition: uint32(rand.IntN(partitions))}
		all = append(all, k)
		ws.rest(now, k)
		if i%7 == 0 || k.partition == 3 {
			all[rand.IntN(len(all))].remove()
		}
	}
	left := ws.holds()
	taken, turns := 0, 0
	last := uint32(partitions)
	for {
		due := ws.take(now+time.Minute, nil, 64)
		if len(due) == 0 {
			break
		}
		for _, k := range due {
			if k.partition != last {
				last, turns = k.partition, turns+1
			}
			taken++
		}
	}
	if taken != left || turns > partitions {
		t.Errorf("%d of %d were taken, in %d turns of %d partitions", taken, left, turns, partitions)
	}
}

// A hold that is taken out is out, and no other with it; nothing is taken twice, and
// nothing is forgotten when the clock goes on by a lot.
func TestWheelsRemove(t *testing.T) {
	var ws wheels
	now := time.Hour
	all := map[*kept]bool{}
	for i := range 1000 {
		k := &kept{Renewal: owner.Renewal{TTL: time.Duration(1+i%50) * time.Second}}
		if i%3 == 0 {
			ws.rest(now, k)
		} else {
			ws.renewed(now, now, 30*time.Second, k)
		}
		all[k] = true
	}
	n := 0
	for k := range all {
		if n++; n%4 == 0 {
			k.remove()
			delete(all, k)
		}
	}
	now += time.Hour
	for len(all) > 0 {
		due := ws.take(now, nil, 100)
		if len(due) == 0 || len(due) > 100 {
			t.Fatalf("%d are taken, with %d left", len(due), len(all))
		}
		for _, k := range due {
			if !all[k] || k.batch != nil {
				t.Fatal("one was taken twice, or after it was removed")
			}
			delete(all, k)
		}
	}
	if at, ok := ws.due(); ok {
		t.Errorf("something is due at %v", at)
	}
	if due := ws.take(now+time.Hour, nil, 100); len(due) > 0 {
		t.Errorf("%d more are due", len(due))
	}
}

// holds is how many wait.
func (ws *wheels) holds() (n int) {
	for _, w := range ws {
		if w != nil {
			for i := range w.buckets {
				n += w.buckets[i].holds
			}
		}
	}
	return n
}
