package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/virtual"
)

// story builds a history by hand; its times are in milliseconds.
type story struct{ h *History }

func newStory() story { return story{newHistory(time.Time{}.Add(time.Hour))} }

func (s story) at(ms int) time.Time { return s.h.start.Add(time.Duration(ms) * time.Millisecond) }

func (s story) add(c Call, from, to int) *Call {
	c.Key, c.Start = "k", s.at(from)
	if to > 0 {
		c.End = s.at(to)
	}
	s.h.calls = append(s.h.calls, &c)
	return &c
}

// grant adds an acquire that was granted, safe for a number of milliseconds from its send.
func (s story) grant(id string, token uint64, from, to, safe int) *Call {
	return s.add(Call{Op: Acquire, RequestID: id, Token: sharelock.Token(token), SafeUntil: s.at(from + safe)}, from, to)
}

func (s story) renewal(token uint64, from, to, safe int) {
	s.add(Call{Op: Renew, Token: sharelock.Token(token), SafeUntil: s.at(from + safe)}, from, to)
}

func (s story) release(token uint64, from, to int) {
	s.add(Call{Op: Release, Token: sharelock.Token(token)}, from, to)
}

func (s story) giveUp(id string, from, to int) {
	s.add(Call{Op: GiveUp, RequestID: id}, from, to)
}

func (s story) queue(epoch uint32, from, to int, ids ...string) {
	s.add(Call{Op: Get, Epoch: epoch, Waiters: ids}, from, to)
}

func (s story) event(kind EventKind, at int) {
	s.h.events = append(s.h.events, Event{At: s.at(at), Kind: kind})
}

// watched replays the story in order of time, and returns the first invariant that is seen to be
// violated.
func (s story) watched() (broken Invariant) {
	type moment struct {
		at   time.Time
		tell func()
	}
	w := newWatch()
	var all []moment
	for _, e := range s.h.events {
		all = append(all, moment{e.At, func() { w.event(e) }})
	}
	for _, c := range s.h.calls {
		all = append(all, moment{c.Start, func() { w.sent(c) }})
		if !c.End.IsZero() {
			all = append(all, moment{c.End, func() {
				if i, _ := w.answered(c); broken == "" {
					broken = i
				}
			}})
		}
	}
	slices.SortStableFunc(all, func(a, b moment) int { return a.at.Compare(b.at) })
	for _, m := range all {
		m.tell()
	}
	return broken
}

// TestInvariants checks stories that violate one invariant, or none.
func TestInvariants(t *testing.T) {
	shared := func(calls ...*Call) {
		for _, c := range calls {
			c.Mode = sharelock.Shared
		}
	}
	slots := func(n uint32, calls ...*Call) {
		for _, c := range calls {
			c.Slots = n
		}
	}
	for name, c := range map[string]struct {
		tell func(s story)
		want Invariant // "" is none
	}{
		"one after the other": {func(s story) {
			s.grant("a", 1, 0, 10, 1000)
			s.release(1, 20, 30)
			s.grant("b", 2, 5, 25, 1000)
		}, ""},
		"two at once": {func(s story) {
			s.grant("a", 1, 0, 10, 1000)
			s.grant("b", 2, 5, 20, 1000)
		}, OneHolder},
		"granted before the release is sent": {func(s story) {
			s.grant("a", 1, 0, 10, 1000)
			s.grant("b", 2, 5, 20, 1000)
			s.release(1, 21, 30)
		}, OneHolder},
		"a second answer comes after the release": {func(s story) {
			s.grant("a", 1, 0, 10, 1000)
			s.grant("a", 1, 2, 30, 1000) // the request was sent twice
			s.release(1, 20, 0)
			s.grant("b", 2, 5, 40, 1000)
		}, ""},
		"a second answer comes after the next grant": {func(s story) {
			s.grant("a", 1, 0, 10, 1000)
			s.release(1, 20, 0)
			s.grant("b", 2, 5, 30, 1000)
			s.grant("a", 1, 2, 40, 1000)
		}, ""},
		"a second answer comes after all were thrown out": {func(s story) {
			s.grant("a", 1, 0, 10, 1000)
			s.add(Call{Op: Force}, 20, 30)
			s.grant("a", 1, 2, 35, 1000)
			s.grant("b", 2, 5, 40, 1000)
		}, ""},
		"the answer comes after the request was given up": {func(s story) {
			s.grant("a", 1, 0, 30, 1000)
			s.giveUp("a", 20, 30)
			s.grant("b", 2, 5, 30, 1000)
		}, ""},
		"given up when it was held": {func(s story) {
			s.grant("a", 1, 0, 10, 1000)
			s.giveUp("a", 20, 30)
			s.grant("b", 2, 5, 25, 1000)
		}, ""},
		"granted before the other is given up": {func(s story) {
			s.grant("a", 1, 0, 10, 1000)
			s.grant("b", 2, 5, 20, 1000)
			s.giveUp("a", 21, 30)
		}, OneHolder},
		"after the TTL": {func(s story) {
			s.grant("a", 1, 0, 10, 100)
			s.grant("b", 2, 5, 101, 1000)
		}, ""},
		"before the TTL is over, counted from the send": {func(s story) {
			s.grant("a", 1, 50, 60, 100)
			s.grant("b", 2, 5, 149, 1000)
		}, OneHolder},
		"a renewal makes it longer": {func(s story) {
			s.grant("a", 1, 0, 10, 100)
			s.renewal(1, 50, 60, 100)
			s.grant("b", 2, 5, 140, 1000)
		}, OneHolder},
		"a renewal that came too late does not": {func(s story) {
			s.grant("a", 1, 0, 10, 100)
			s.renewal(1, 50, 110, 100)
			s.grant("b", 2, 5, 140, 1000)
		}, ""},
		"a renewal without an answer does not": {func(s story) {
			s.grant("a", 1, 0, 10, 100)
			s.renewal(1, 50, 0, 100)
			s.grant("b", 2, 5, 140, 1000)
		}, ""},
		"an answer after its own end is no lock": {func(s story) {
			s.grant("a", 1, 0, 200, 100)
			s.grant("b", 2, 5, 150, 1000)
		}, ""},
		"forced": {func(s story) {
			s.grant("a", 1, 0, 10, 1000)
			s.add(Call{Op: Force}, 15, 30)
			s.grant("b", 2, 16, 20, 1000)
		}, ""},
		"shared": {func(s story) {
			shared(s.grant("a", 1, 0, 10, 1000), s.grant("b", 2, 5, 20, 1000))
		}, ""},
		"shared and exclusive": {func(s story) {
			shared(s.grant("a", 1, 0, 10, 1000))
			s.grant("b", 2, 5, 20, 1000)
		}, OneHolder},
		"two slots": {func(s story) {
			slots(2, s.grant("a", 1, 0, 10, 1000), s.grant("b", 2, 5, 20, 1000))
		}, ""},
		"three in two slots": {func(s story) {
			slots(2, s.grant("a", 1, 0, 10, 1000), s.grant("b", 2, 5, 20, 1000), s.grant("c", 3, 5, 30, 1000))
		}, OneHolder},
		"the token shrinks": {func(s story) {
			s.grant("a", 7, 0, 10, 1000)
			s.release(7, 20, 30)
			s.grant("b", 6, 40, 50, 1000)
		}, TokensGrow},
		"the token is granted again": {func(s story) {
			s.grant("a", 7, 0, 10, 1000)
			s.release(7, 20, 30)
			s.grant("b", 7, 40, 50, 1000)
		}, TokensGrow},
		"the larger token was asked for before": {func(s story) {
			slots(2, s.grant("a", 7, 0, 10, 1000), s.grant("b", 6, 9, 50, 1000))
		}, ""},
		"a retry brings its first token": {func(s story) {
			slots(2, s.add(Call{Op: Acquire, RequestID: "a", Err: errors.New("lost")}, 0, 5),
				s.grant("b", 2, 10, 20, 1000), s.grant("a", 1, 30, 40, 1000))
		}, ""},
		"an id is granted twice": {func(s story) {
			s.grant("a", 1, 0, 10, 1000)
			s.release(1, 20, 30)
			s.grant("a", 2, 40, 50, 1000)
		}, OneGrant},
		"an id is granted twice over the death of a node": {func(s story) {
			s.grant("a", 1, 0, 10, 1000)
			s.release(1, 20, 30)
			s.event(Killed, 35)
			s.grant("a", 1<<32, 40, 50, 1000)
		}, ""},
		"an id is granted twice soon after the death of a node": {func(s story) {
			s.event(Killed, 1)
			s.grant("a", 1, 590, 600, 1000)
			s.release(1, 610, 620)
			s.grant("a", 1<<32, 4000, 4010, 1000)
		}, ""},
		"an id is granted twice long after the death of a node": {func(s story) {
			s.event(Killed, 1)
			s.grant("a", 1, 20010, 20020, 1000)
			s.release(1, 20020, 20030)
			s.grant("a", 1<<32, 20040, 20050, 1000)
		}, OneGrant},
		"an id is granted twice within an epoch": {func(s story) {
			s.grant("a", 1, 0, 10, 1000)
			s.release(1, 20, 30)
			s.event(Killed, 35)
			s.grant("a", 2, 40, 50, 1000)
		}, OneGrant},
		"an id is granted twice while the network is disturbed": {func(s story) {
			s.event(Disturbed, 1)
			s.grant("a", 1, 10, 20, 1000)
			s.release(1, 20, 30)
			s.grant("a", 1<<32, 40, 50, 1000)
		}, ""},
		"an id is granted twice long after a disturbance": {func(s story) {
			s.event(Disturbed, 1)
			s.event(Healed, 2)
			s.grant("a", 1, 20010, 20020, 1000)
			s.release(1, 20020, 20030)
			s.grant("a", 1<<32, 20040, 20050, 1000)
		}, OneGrant},
		"in line": {func(s story) {
			s.grant("a", 1, 10, 50, 1000)
			s.release(1, 55, 60)
			s.grant("b", 2, 20, 70, 1000)
			s.queue(0, 30, 40, "a", "b")
		}, ""},
		"overtaken": {func(s story) {
			s.grant("a", 2, 10, 70, 1000)
			s.grant("b", 1, 20, 50, 1000)
			s.release(1, 55, 60)
			s.queue(0, 30, 40, "a", "b")
		}, Fair},
		"overtaken while a node died": {func(s story) {
			s.grant("a", 2, 10, 70, 1000)
			s.grant("b", 1, 20, 50, 1000)
			s.release(1, 55, 60)
			s.queue(0, 30, 40, "a", "b")
			s.event(Killed, 45)
		}, ""},
		"overtaken in another epoch": {func(s story) {
			s.grant("a", 2, 10, 70, 1000)
			s.grant("b", 1, 20, 50, 1000)
			s.release(1, 55, 60)
			s.queue(9, 30, 40, "a", "b")
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStory()
			c.tell(s)
			if seen := s.watched(); seen != c.want && c.want != Fair {
				t.Errorf("while it happened, %q was seen to be violated, want %q", seen, c.want)
			}
			err := s.h.Check()
			if c.want == "" {
				if err != nil {
					t.Fatalf("want no violation, got %v", err)
				}
				return
			}
			found, ok := errors.AsType[*ViolationError](err)
			if !ok || found.Invariant != c.want {
				t.Fatalf("want %q to be violated, got %v", c.want, err)
			}
			if err := s.h.Check(c.want); err != nil {
				t.Errorf("left out by name, but: %v", err)
			}
		})
	}
}

// TestEvidenceIsShort: the report of a history that is wrong everywhere is short enough to read.
func TestEvidenceIsShort(t *testing.T) {
	s := newStory()
	for i := range 1000 {
		c := s.grant(fmt.Sprint("r", i), uint64(2000-i), 10*i, 10*i+5, 100_000)
		c.Key = fmt.Sprint("k", i%20)
	}
	text := s.h.Check().Error()
	if lines := strings.Count(text, "\n"); lines > 300 {
		t.Errorf("the report has %d lines", lines)
	}
	for _, i := range []Invariant{OneHolder, TokensGrow} {
		if !strings.Contains(text, string(i)) {
			t.Errorf("the report does not name %s", i)
		}
	}
}

// TestLeakIsFound: a goroutine that a cluster started is found while it runs, one of another cluster
// is not.
func TestLeakIsFound(t *testing.T) {
	mine, other := newLeaks(time.Second), newLeaks(time.Second)
	end, ended := make(chan struct{}), make(chan struct{})
	err := mine.watch(t.Context(), func(context.Context) error {
		go func() {
			go func() { // started by one that was started
				defer close(ended)
				<-end
			}()
		}()
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if mine.stacks() == "" {
		t.Error("a goroutine that lives is not found")
	}
	if stacks := other.stacks(); stacks != "" {
		t.Errorf("another's goroutine is found:\n%s", stacks)
	}
	close(end)
	<-ended
	if stacks := mine.left(); stacks != "" {
		t.Errorf("a goroutine that has ended is found:\n%s", stacks)
	}
}

// TestProbeIsNoLeak: leaks waits for a goroutine that lasts as long as a gossip probe, but not for one
// that lasts for ever.
func TestProbeIsNoLeak(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		const lease = 4 * time.Second
		l := newLeaks(lease)
		end := make(chan struct{})
		start := func(until <-chan time.Time) {
			err := l.watch(t.Context(), func(context.Context) error {
				go func() {
					select {
					case <-until:
					case <-end:
					}
				}()
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		start(time.After(2 * lease))
		if stacks := l.left(); stacks != "" {
			t.Errorf("a probe is taken for a leak:\n%s", stacks)
		}
		start(nil)
		if l.left() == "" {
			t.Error("a goroutine that does not end is not found")
		}
		close(end)
	})
}

// fakeTB is a test that can fail without failing this one.
type fakeTB struct {
	*testing.T
	failed   bool
	errors   strings.Builder
	logged   strings.Builder
	cleanups []func()
}

func (f *fakeTB) Errorf(format string, args ...any) {
	f.failed = true
	fmt.Fprintf(&f.errors, format, args...)
}

func (f *fakeTB) Logf(format string, args ...any) { fmt.Fprintf(&f.logged, format, args...) }
func (f *fakeTB) Failed() bool                    { return f.failed }
func (f *fakeTB) Cleanup(fn func())               { f.cleanups = append(f.cleanups, fn) }

func (f *fakeTB) end() {
	for _, cleanup := range slices.Backward(f.cleanups) {
		cleanup()
	}
}

var _ TB = (*fakeTB)(nil)

// TestFailureIsReported ends a test whose history is wrong and checks what it prints, and one in
// which nothing is wrong, which prints nothing.
func TestFailureIsReported(t *testing.T) {
	t.Parallel()
	for _, bad := range []bool{true, false} {
		f := &fakeTB{T: t}
		c := Start(f, Options{Nodes: 1, Seed: 4711})
		l, err := c.Client(0).Acquire(t.Context(), "k")
		if err != nil {
			t.Fatal(err)
		}
		if bad {
			thief := c.history.begin(Call{Client: "thief", Op: Acquire, Key: "k", RequestID: "theft"})
			c.history.end(thief, func(c *Call) { c.Token, c.SafeUntil = l.Token()+1, c.Start.Add(time.Minute) })
		}
		if err := l.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		f.end()
		if f.failed != bad {
			t.Errorf("failed %t, want %t: %s", f.failed, bad, f.errors.String())
		}
		for _, want := range []string{"one-holder", "thief acquire \"k\" id theft", "client-of-n0"} {
			if strings.Contains(f.errors.String(), want) != bad {
				t.Errorf("%q in the errors, want it %t:\n%s", want, bad, f.errors.String())
			}
		}
		for _, want := range []string{"seed 4711", "started node 0", "member n0", "msg=\"founded the cluster\""} {
			if strings.Contains(f.logged.String(), want) != bad {
				t.Errorf("%q in the log, want it %t:\n%s", want, bad, f.logged.String())
			}
		}
	}
}
