package locktest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/sgkandale/sharelock"
)

func acquireRelease(s *suite) {
	h := s.take(s.a, withID("request-1"))
	switch {
	case h.Key != s.key, h.ClientID != "a", h.RequestID != "request-1", h.Mode != sharelock.Exclusive, h.Token == 0, h.Node == "":
		s.Errorf("the hold is %+v", h)
	case h.TTL != longTTL || h.SafeFor < longTTL || h.SafeFor > limit:
		s.Errorf("TTL %v, safe for %v, want %v and no less", h.TTL, h.SafeFor, longTTL)
	case h.ExpiresIn < longTTL/2:
		s.Errorf("expires in %v", h.ExpiresIn)
	}
	lock, err := s.b.Get(s.ctx, s.key)
	if err != nil || len(lock.Holds) != 1 || lock.Holds[0].Token != h.Token || lock.Holds[0].ClientID != "a" {
		s.Errorf("get: %+v, %v", lock, err)
	}
	s.release(s.a, h)
	if _, err := s.b.Get(s.ctx, s.key); !errors.Is(err, sharelock.ErrNotHeld) {
		s.Errorf("get of a free key: %v", err)
	}
	if err := s.a.Release(s.ctx, s.key, h.Token); !errors.Is(err, sharelock.ErrNotHeld) && !errors.Is(err, sharelock.ErrStaleToken) {
		s.Errorf("second release: %v", err)
	}
}

// keys are distinguished byte by byte, and the protocol does not change them.
func keys(s *suite) {
	held := map[string]sharelock.Hold{}
	for _, tail := range []string{
		"", "/", "//", "a/b", "a//b", "a%2Fb", "a%b", "a b", " ", "a+b", "?x=1", "#", "&", ".", "..", "../x", "ümläut",
		"\u65e5\u672c", "🔒", "\n", "\\", "\"", "CASE", "case", ":", ";",
		strings.Repeat("x", sharelock.MaxKeyBytes-len(s.key)),
	} {
		key := s.key + tail
		h := s.take(s.a, func(r *sharelock.AcquireRequest) { r.Key, r.Wait = key, 0 })
		if h.Key != key {
			s.Errorf("asked for %q, got %q", key, h.Key)
		}
		held[key] = h
	}
	for key, h := range held {
		lock, err := s.b.Get(s.ctx, key)
		if err != nil || len(lock.Holds) != 1 || lock.Holds[0].Token != h.Token {
			s.Errorf("get of %q: %+v, %v", key, lock, err)
		}
		s.release(s.a, h)
	}
}

func tryHeld(s *suite) {
	h := s.take(s.a)
	err := s.refused(sharelock.ErrLockHeld, s.b, try)
	e, ok := errors.AsType[*sharelock.Error](err)
	if !ok || len(e.Holds) != 1 || e.Holds[0].ClientID != "a" || e.Holds[0].Token != h.Token {
		s.Errorf("the error does not name the holder: %+v", e)
	}
	s.release(s.a, h)
	s.release(s.b, s.take(s.b, try))
}

func waitEnds(s *suite) {
	h := s.take(s.a)
	const wait = 100 * time.Millisecond
	begin := time.Now()
	s.refused(sharelock.ErrLockHeld, s.b, func(r *sharelock.AcquireRequest) { r.Wait = wait })
	if took := time.Since(begin); took < wait {
		s.Errorf("gave up after %v, asked to wait %v", took, wait)
	}
	s.untilQueued(0)
	s.release(s.a, h)
}

func waiterGetsIt(s *suite) {
	h := s.take(s.a)
	p := s.queue(s.ctx, 1, s.b)
	p.still()
	s.release(s.a, h)
	next := p.granted()
	if next.Token <= h.Token || next.ClientID != "b" {
		s.Errorf("%+v follows %+v", next, h)
	}
	if next.SafeFor < next.TTL {
		s.Errorf("after a wait it is safe for %v, the TTL is %v", next.SafeFor, next.TTL)
	}
	s.release(s.b, next)
}

func fifo(s *suite) {
	h := s.take(s.a)
	lockers := []Locker{s.b, s.c, s.a, s.c, s.b}
	var line []*pending
	for i, l := range lockers {
		line = append(line, s.queue(s.ctx, i+1, l))
	}
	s.release(s.a, h)
	for i, p := range line {
		h := p.granted()
		for _, later := range line[i+1:] {
			later.still()
		}
		s.release(lockers[i], h)
	}
}

func cancelledWaiterLeaves(s *suite) {
	h := s.take(s.a)
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	gone := s.queue(ctx, 1, s.b)
	stays := s.queue(s.ctx, 2, s.c)
	cancel()
	<-gone.done
	if !errors.Is(gone.err, context.Canceled) {
		s.Errorf("cancelled acquire: %v", gone.err)
	}
	s.release(s.a, h)
	s.release(s.c, stays.granted())
	s.untilQueued(0)
	s.release(s.a, s.take(s.a))
}

func sameRequestID(s *suite) {
	h := s.take(s.a, withID("again"))
	if same := s.take(s.a, withID("again"), try); same.Token != h.Token {
		s.Errorf("the same request id got token %d, before %d", same.Token, h.Token)
	}
	s.refused(sharelock.ErrLockHeld, s.a, withID("other"), try)
	s.release(s.a, h)
}

func requestIDIsOver(s *suite) {
	h := s.take(s.a, withID("once"))
	s.take(s.a, withID("once")) // sent more than once, so that it is remembered
	s.release(s.a, h)
	s.refused(sharelock.ErrRequestOver, s.a, withID("once"))
}

func notReentrant(s *suite) {
	h := s.take(s.a)
	s.refused(sharelock.ErrLockHeld, s.a, try)
	s.release(s.a, h)
}

func renew(s *suite) {
	h := s.take(s.a, shortLived)
	end := time.NewTimer(2 * shortTTL)
	defer end.Stop()
	tick := time.NewTicker(shortTTL / 6)
	defer tick.Stop()
	for renewing := true; renewing; {
		select {
		case <-tick.C:
		case <-end.C:
			renewing = false
		}
		again, err := s.a.Renew(s.ctx, s.key, h.Token, 0)
		if err != nil || again.Token != h.Token || again.TTL != shortTTL || again.SafeFor < shortTTL {
			s.Fatalf("renew: %+v, %v", again, err)
		}
	}
	longer, err := s.a.Renew(s.ctx, s.key, h.Token, longTTL)
	if err != nil || longer.TTL != longTTL || longer.SafeFor < longTTL {
		s.Errorf("renew with a longer TTL: %+v, %v", longer, err)
	}
	s.release(s.a, h)
	if _, err := s.a.Renew(s.ctx, s.key, h.Token, 0); !errors.Is(err, sharelock.ErrNotHeld) && !errors.Is(err, sharelock.ErrStaleToken) {
		s.Errorf("renew of a released hold: %v", err)
	}
}

func expiry(s *suite) {
	begin := time.Now()
	h := s.take(s.a, shortLived)
	next := s.take(s.b)
	if took := time.Since(begin); took < shortTTL {
		s.Errorf("granted to another %v after the first acquire, its TTL is %v", took, shortTTL)
	}
	if next.Token <= h.Token {
		s.Errorf("token %d follows %d", next.Token, h.Token)
	}
	if _, err := s.a.Renew(s.ctx, s.key, h.Token, 0); !errors.Is(err, sharelock.ErrStaleToken) {
		s.Errorf("renew of a hold that has expired: %v", err)
	}
	s.release(s.b, next)
}

// releaseOfAnother: a finished token does not affect the present holder of the key.
func releaseOfAnother(s *suite) {
	old := s.take(s.a)
	s.release(s.a, old)
	now := s.take(s.b)
	if err := s.a.Release(s.ctx, s.key, old.Token); !errors.Is(err, sharelock.ErrStaleToken) {
		s.Errorf("release with an old token: %v", err)
	}
	s.refused(sharelock.ErrLockHeld, s.c, try)
	s.release(s.b, now)
}

func shared(s *suite) {
	first, second := s.take(s.a, inShared, try), s.take(s.b, inShared, try)
	if first.Mode != sharelock.Shared || second.Mode != sharelock.Shared {
		s.Errorf("modes %v and %v", first.Mode, second.Mode)
	}
	s.refused(sharelock.ErrLockHeld, s.c, try)
	s.release(s.a, first)
	s.refused(sharelock.ErrLockHeld, s.c, try)
	s.release(s.b, second)
	h := s.take(s.c, try)
	s.refused(sharelock.ErrLockHeld, s.a, inShared, try)
	s.release(s.c, h)
}

func sharedWaitsBehindExclusive(s *suite) {
	h := s.take(s.a, inShared)
	exclusive := s.queue(s.ctx, 1, s.b)
	late := s.queue(s.ctx, 2, s.c, inShared)
	late.still()
	s.release(s.a, h)
	got := exclusive.granted()
	late.still()
	s.release(s.b, got)
	s.release(s.c, late.granted())
}

func slots(s *suite) {
	var holds []sharelock.Hold
	for _, l := range []Locker{s.a, s.b, s.c} {
		h := s.take(l, withSlots(3), try)
		if h.Slots != 3 {
			s.Errorf("slots %d, want 3", h.Slots)
		}
		holds = append(holds, h)
	}
	s.refused(sharelock.ErrLockHeld, s.a, withSlots(3), try)
	s.release(s.b, holds[1])
	again := s.take(s.a, withSlots(3), try)
	s.release(s.a, again)
	s.release(s.a, holds[0])
	s.release(s.c, holds[2])
}

func modeConflict(s *suite) {
	h := s.take(s.a, withSlots(2))
	s.refused(sharelock.ErrModeConflict, s.b)
	s.refused(sharelock.ErrModeConflict, s.b, withSlots(3))
	s.refused(sharelock.ErrModeConflict, s.b, inShared)
	s.release(s.a, h)
	s.release(s.b, s.take(s.b, withSlots(3)))
}

func tokensGrow(s *suite) {
	last := sharelock.Token(0)
	for range 5 {
		for _, l := range []Locker{s.a, s.b, s.c} {
			h := s.take(l)
			if h.Token <= last {
				s.Errorf("token %d follows %d", h.Token, last)
			}
			last = h.Token
			s.release(l, h)
		}
	}
}

func checkToken(s *suite) {
	old := s.take(s.a)
	s.release(s.a, old)
	now := s.take(s.b)
	for token, current := range map[sharelock.Token]bool{old.Token: false, now.Token: true} {
		check, err := s.c.CheckToken(s.ctx, s.key, token)
		if err != nil || check.Current != current {
			s.Errorf("check of token %d: %+v, %v, want current %t", token, check, err, current)
		}
	}
	s.release(s.b, now)
}

func metadata(s *suite) {
	want := map[string]string{"why": "test", "ü": "=&?"}
	h := s.take(s.a, func(r *sharelock.AcquireRequest) { r.Metadata = want })
	lock, err := s.b.Get(s.ctx, s.key)
	if err != nil || len(lock.Holds) != 1 {
		s.Fatalf("get: %+v, %v", lock, err)
	}
	for _, got := range []map[string]string{h.Metadata, lock.Holds[0].Metadata} {
		if fmt.Sprint(got) != fmt.Sprint(want) {
			s.Errorf("metadata %v, want %v", got, want)
		}
	}
	s.release(s.a, h)
}

func invalidArguments(s *suite) {
	for name, change := range map[string]func(*sharelock.AcquireRequest){
		"empty key":       func(r *sharelock.AcquireRequest) { r.Key = "" },
		"long key":        func(r *sharelock.AcquireRequest) { r.Key = strings.Repeat("x", sharelock.MaxKeyBytes+1) },
		"NUL in key":      func(r *sharelock.AcquireRequest) { r.Key = "a\x00b" },
		"short TTL":       func(r *sharelock.AcquireRequest) { r.TTL = sharelock.MinTTL - 1 },
		"long TTL":        func(r *sharelock.AcquireRequest) { r.TTL = 25 * time.Hour },
		"long wait":       func(r *sharelock.AcquireRequest) { r.Wait = 25 * time.Hour },
		"long request id": func(r *sharelock.AcquireRequest) { r.RequestID = strings.Repeat("x", sharelock.MaxRequestIDBytes+1) },
		"shared slots":    func(r *sharelock.AcquireRequest) { r.Mode, r.Slots = sharelock.Shared, 2 },
		"large metadata": func(r *sharelock.AcquireRequest) {
			r.Metadata = map[string]string{"x": strings.Repeat("x", sharelock.MaxMetadataBytes)}
		},
	} {
		r := s.want(change)
		if h, err := s.a.Acquire(s.ctx, r); !errors.Is(err, sharelock.ErrInvalidArgument) {
			s.Errorf("%s: %+v, %v, want an invalid argument", name, h, err)
		}
	}
	if err := s.a.Release(s.ctx, s.key, 0); !errors.Is(err, sharelock.ErrInvalidArgument) {
		s.Errorf("release of token 0: %v", err)
	}
}
