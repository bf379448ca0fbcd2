package quota

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
)

// clock is a clock that a test sets.
type clock time.Duration

func (c *clock) now() time.Duration { return time.Duration(*c) }

// allowed returns how many of n calls were allowed, and the last error.
func allowed(q *Quotas, principal string, perSecond, n int) (count int, last error) {
	for range n {
		if err := q.Call(principal, perSecond); err != nil {
			last = err
		} else {
			count++
		}
	}
	return count, last
}

func TestCallsPerSecond(t *testing.T) {
	var c clock
	q := New(c.now)
	if n, err := allowed(q, "ci", 0, 1000); n != 1000 {
		t.Fatalf("without a limit %d of 1000 calls were allowed: %v", n, err)
	}
	n, err := allowed(q, "ci", 10, 30)
	var quota *sharelock.Error
	if n != 10 || !errors.Is(err, sharelock.ErrQuota) || !errors.As(err, &quota) {
		t.Fatalf("%d calls at once were allowed, want 10: %v", n, err)
	}
	if !strings.Contains(err.Error(), "max_calls_per_second") || !strings.Contains(err.Error(), `"ci"`) {
		t.Errorf("the error does not name the limit and the principal: %v", err)
	}
	if n, _ := allowed(q, "other", 10, 10); n != 10 {
		t.Errorf("%d calls of another principal were allowed, want 10", n)
	}
	c += clock(quota.RetryAfter)
	if n, _ := allowed(q, "ci", 10, 5); n != 1 {
		t.Errorf("%d calls were allowed after RetryAfter (%v), want 1", n, quota.RetryAfter)
	}
	c += clock(time.Hour)
	if n, _ := allowed(q, "ci", 10, 30); n != 10 {
		t.Errorf("%d calls were allowed after an hour, want 10", n)
	}
	// A raised or lowered limit counts from the next call.
	c += clock(time.Second)
	if n, _ := allowed(q, "ci", 3, 30); n != 3 {
		t.Errorf("%d calls were allowed of a lower limit, want 3", n)
	}
}

func TestBoundedState(t *testing.T) {
	var c clock
	q := New(c.now)
	for i := range maxPrincipals + 100 {
		if err := q.Call(fmt.Sprint("p", i), 1); err != nil {
			t.Fatal(err)
		}
	}
	if len(q.buckets) > maxPrincipals {
		t.Errorf("%d buckets, want at most %d", len(q.buckets), maxPrincipals)
	}
	// After two seconds all buckets are full, so the first call that needs room removes all of them.
	for i := 0; len(q.buckets) < maxPrincipals; i++ {
		if err := q.Call(fmt.Sprint("q", i), 1); err != nil {
			t.Fatal(err)
		}
	}
	c += clock(2 * time.Second)
	if err := q.Call("r", 1); err != nil || len(q.buckets) != 1 {
		t.Errorf("%d buckets are left, want 1: %v", len(q.buckets), err)
	}
}

func TestConnections(t *testing.T) {
	var c clock
	q := New(c.now)
	first, err := q.Connect("ci", 2)
	if err != nil {
		t.Fatal(err)
	}
	second, err := q.Connect("ci", 2)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := q.Connect("ci", 2); !errors.Is(err, sharelock.ErrQuota) || !strings.Contains(err.Error(), "max_connections") {
		t.Errorf("the third connection: %v", err)
	}
	if release, err := q.Connect("other", 2); err != nil {
		t.Error(err)
	} else {
		release()
	}
	first()
	first() // counts once
	third, err := q.Connect("ci", 2)
	if err != nil {
		t.Errorf("after a release: %v", err)
	}
	if _, err := q.Connect("ci", 2); err == nil {
		t.Error("releasing twice made room for two")
	}
	second()
	third()
	if len(q.connections) != 0 {
		t.Errorf("%v is left", q.connections)
	}
}
