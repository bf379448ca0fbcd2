package audit

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sgkandale/sharelock/internal/virtual"
)

// counted returns how many denials the lines of a log represent, and in how many lines, by caller.
func counted(t *testing.T, d *fakeDisk) (denials, lines map[string]int) {
	t.Helper()
	denials, lines = map[string]int{}, map[string]int{}
	for _, line := range parsed(t, d.text(), 0) {
		if line["result"] != Denied {
			continue
		}
		who := fmt.Sprint(line["principal"], " ", line["remote"])
		lines[who]++
		if n, ok := line["suppressed"].(float64); ok {
			denials[who] += int(n)
		} else {
			denials[who]++
		}
	}
	return denials, lines
}

// A flood of denials of one host, or of one principal, leaves a bounded number of lines that represent all of
// them. The calls and denials of others are written as always.
func TestFloodOfDenials(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		d := new(fakeDisk)
		l := start(Config{}, d)
		const flood = 20000
		for i := range flood {
			l.Deny(t.Context(), Event{Remote: fmt.Sprintf("[2001:db8::%x]:%d", i%7, i), Credential: "none", Principal: "anonymous"})
			l.Deny(t.Context(), Event{Remote: fmt.Sprintf("10.0.0.9:%d", i), Credential: "token", Principal: "ci"})
		}
		l.Deny(t.Context(), Event{Remote: "10.0.0.9:1", Credential: "token", Principal: "ops"})
		l.Record(t.Context(), Event{Result: Forced, Key: "k"})
		if lines := parsed(t, d.text(), 0); len(lines) != 2*denialBurst+2 || lines[len(lines)-1]["result"] != Forced {
			t.Errorf("%d lines, want %d and what was forced at the end", len(lines), 2*denialBurst+2)
		}
		time.Sleep(summaryAfter + 2*retryEvery)
		synctest.Wait()
		denials, lines := counted(t, d)
		for who, want := range map[string]int{"<nil> 2001:db8::/64": 1, "ci <nil>": 1} {
			if denials[who] != flood-denialBurst || lines[who] != want {
				t.Errorf("%s: %d denials in %d lines", who, denials[who], lines[who])
			}
		}
		time.Sleep(denialBurst * denialEvery)
		l.Deny(t.Context(), Event{Remote: "[2001:db8::1]:1", Key: "later"})
		if all := parsed(t, d.text(), 0); all[len(all)-1]["key"] != "later" {
			t.Error("after a rest a denial is not written")
		}
		l.Deny(t.Context(), Event{})
		if err := l.Close(); err != nil || l.Dropped() != 0 {
			t.Errorf("%v, %d lines dropped", err, l.Dropped())
		}
	})
}

// Many hosts together leave as few lines, and Close writes what was counted.
func TestDenialsOfManyHosts(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		d := new(fakeDisk)
		l := start(Config{}, d)
		const hosts = 2 * maxDeniers
		for i := range hosts {
			l.Deny(t.Context(), Event{Remote: fmt.Sprintf("10.0.%d.%d:1", i/256, i%256)})
			l.Deny(t.Context(), Event{Remote: fmt.Sprintf("10.0.%d.%d:2", i/256, i%256)})
		}
		if n := len(l.denials.of); n > maxDeniers+1 {
			t.Errorf("%d hosts are remembered", n)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		denials, lines := counted(t, d)
		total, written := 0, 0
		for who := range denials {
			total += denials[who]
			written += lines[who]
		}
		if total != 2*hosts || written != allBurst+maxSummaries+1 {
			t.Errorf("%d lines stand for %d denials, want %d and %d", written, total, allBurst+maxSummaries+1, 2*hosts)
		}
	})
}

// A caller that is denied nothing for a while is forgotten.
func TestForgetsDeniers(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		l := start(Config{}, new(fakeDisk))
		for i := range 100 {
			l.Deny(t.Context(), Event{Remote: fmt.Sprintf("10.0.0.%d:1", i)})
		}
		time.Sleep(denialEvery + 2*retryEvery)
		synctest.Wait()
		l.denials.mu.Lock()
		if n := len(l.denials.of); n != 0 {
			t.Errorf("%d hosts are remembered", n)
		}
		l.denials.mu.Unlock()
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
}
