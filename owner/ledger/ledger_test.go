package ledger

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/invariant"
	"github.com/sgkandale/sharelock/owner/machine"
)

// limitedTo returns a ledger with these limits for a principal, in epoch 1, and the principals
// whose counts it asks for.
func limitedTo(maxHolds, maxWaiters int) (l *Ledger, wanted *[]string) {
	wanted = new([]string)
	l = New(
		func() time.Duration { return 0 },
		func(string) (int, int) { return maxHolds, maxWaiters },
		func(p string) { *wanted = append(*wanted, p) },
	)
	l.Begin(1)
	return l, wanted
}

// counted makes a count that finds the given claims at other members.
func (l *Ledger) counted(others Claims) {
	a := l.account("ci")
	a.wanted, a.counting, a.spoiled = true, true, false
	l.EndCount(l.epoch, "ci", others, true)
}

// admitted returns how many of n claims are admitted without a count.
func (l *Ledger) admitted(n int, waits bool) (count int, last error) {
	for range n {
		if last = l.Admit("ci", waits); last != nil {
			return count, last
		}
		count++
	}
	return count, nil
}

// Q8: without a limit no count is made. With a limit no claim is admitted before a count; after it,
// half of what is free is. A claim that ends becomes room. A principal that has reached its limit
// is refused, with its name.
func TestRoomOfAPrincipal(t *testing.T) {
	free, wanted := limitedTo(0, 0)
	if n, err := free.admitted(100, false); n != 100 || len(*wanted) > 0 {
		t.Errorf("without a limit %d of 100 are admitted, %v; counts of %q", n, err, *wanted)
	}
	l, wanted := limitedTo(10, 0)
	if n, err := l.admitted(1, false); n != 0 || !errors.Is(err, machine.ErrUncounted) || len(*wanted) != 1 {
		t.Errorf("before a count %d are admitted, %v; counts of %q", n, err, *wanted)
	}
	if l.admitted(1, false); len(*wanted) != 1 {
		t.Errorf("one count is wanted %d times", len(*wanted))
	}
	l.counted(Claims{Holds: 3, Waiters: 1})
	if n, err := l.admitted(10, false); n != 3 || !errors.Is(err, machine.ErrUncounted) {
		t.Errorf("%s: %d of 6 free are admitted at once, want a half: %v", invariant.Bounded, n, err)
	}
	l.Ended("ci", false)
	if n, _ := l.admitted(10, true); n != 1 {
		t.Errorf("%d are admitted after one has ended, want 1", n)
	}
	l.counted(Claims{Holds: 7})
	_, err := l.admitted(1, false)
	if !errors.Is(err, sharelock.ErrQuota) || !strings.Contains(err.Error(), `max_holds of principal "ci" is 10`) {
		t.Errorf("at the limit: %v", err)
	}
	waiters, _ := limitedTo(0, 1)
	waiters.admitted(1, true)
	waiters.counted(Claims{Waiters: 1})
	if _, err := waiters.admitted(1, true); !errors.Is(err, sharelock.ErrQuota) || !strings.Contains(err.Error(), "max_waiters") {
		t.Errorf("at the limit of waiters: %v", err)
	}
	if n, err := waiters.admitted(3, false); n != 3 {
		t.Errorf("at the limit of waiters %d of 3 holds are admitted: %v", n, err)
	}
}

// Q8: if a limit was lowered below what is held, a claim that ends does not become room.
func TestLoweredLimit(t *testing.T) {
	l, _ := limitedTo(10, 0)
	l.admitted(1, false)
	l.counted(Claims{})
	l.admitted(5, false)
	l.limits = func(string) (int, int) { return 2, 0 }
	l.admitted(1, false)
	l.counted(Claims{})
	l.Ended("ci", false)
	if n, err := l.admitted(1, false); n != 0 {
		t.Errorf("of a limit of 2, with 4 held, %d more is admitted: %v", n, err)
	}
}

// Accounts without claims are dropped when there are many; accounts with claims are not.
func TestAccountsAreBounded(t *testing.T) {
	l, _ := limitedTo(0, 0)
	for i := range 4 * leastSweep {
		name := strings.Repeat("p", i%7) + time.Duration(i).String()
		if err := l.Admit(name, false); err != nil {
			t.Fatal(err)
		}
		if i%100 > 0 {
			l.Ended(name, false)
		}
	}
	if n := len(l.accounts); n > leastSweep || n < 4*leastSweep/100 {
		t.Errorf("%d accounts, want at most %d, and one for each of %d that have claims", n, leastSweep, 4*leastSweep/100)
	}
}

// A count that was asked for while a view was being installed may end without having begun, or may
// never end. In both cases the principal can ask again.
func TestCountThatNeverBegins(t *testing.T) {
	l, wanted := limitedTo(10, 0)
	now := time.Duration(0)
	l.clock = func() time.Duration { return now }
	l.admitted(1, false)
	l.EndCount(l.epoch-1, "ci", Claims{}, false)
	if l.admitted(1, false); len(*wanted) != 2 {
		t.Errorf("after a count of an older epoch, %d counts are wanted, want 2", len(*wanted))
	}
	if l.admitted(1, false); len(*wanted) != 2 {
		t.Errorf("before a count has begun, %d are wanted, want 2", len(*wanted))
	}
	now += askAgain + 1
	if l.admitted(1, false); len(*wanted) != 3 {
		t.Errorf("after a count that never began, %d are wanted, want 3", len(*wanted))
	}
	l.accounts["ci"].counting = true
	now += askAgain + 1
	if l.admitted(1, false); len(*wanted) != 3 {
		t.Errorf("while a count is in progress, %d are wanted, want 3", len(*wanted))
	}
}
