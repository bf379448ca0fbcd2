package machine

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/invariant"
	"github.com/sgkandale/sharelock/internal/rules"
	"github.com/sgkandale/sharelock/owner/machine/finished"
)

// stepped is a machine of which every step is measured.
type stepped struct {
	*play
	// wide: texts are the longest that there may be.
	wide bool
}

// measured fails if the step that has just been taken has touched too much.
func (s *stepped) measured(what string) {
	s.t.Helper()
	if entries, size := s.m.Touched(); entries > StepEntries || size > StepBytes {
		s.t.Fatalf("%s: a step (%s) touched %d entries and %d bytes", invariant.Bounded, what, entries, size)
	}
}

func (s *stepped) text(name string, most int) string {
	if s.wide {
		name += strings.Repeat("x", most-len(name))
	}
	return name
}

func (s *stepped) key(i int) string {
	return s.text(fmt.Sprintf("k%d-", i), sharelock.MaxKeyBytes)
}

// do takes one step with a request.
func (s *stepped) do(what string, from Ref, r Request) []Reply {
	s.t.Helper()
	replies := s.step(from, r)
	s.measured(what)
	return replies
}

// acquire is an acquire with the largest texts.
func (s *stepped) acquire(from Ref, key, id string, r Request) Reply {
	s.t.Helper()
	r.Kind, r.Key, r.Send, r.TTL = Acquire, key, 1, time.Minute
	r.ClientID = s.text("c", sharelock.MaxClientIDBytes)
	r.RequestID = s.text(id+"-", sharelock.MaxRequestIDBytes)
	if s.wide {
		r.Metadata = map[string]string{"m": strings.Repeat("y", sharelock.MaxMetadataBytes-1)}
	}
	replies := s.do("acquire", from, r)
	return replies[len(replies)-1]
}

// rest takes all steps that are due.
func (s *stepped) rest(what string) (replies []Reply) {
	s.t.Helper()
	for at, ok := s.m.Next(); ok && at <= s.now; at, ok = s.m.Next() {
		s.out = Out{}
		s.m.Tick(s.now, &s.out)
		s.measured(what)
		replies = append(replies, s.out.Replies...)
	}
	s.check()
	return replies
}

func (s *stepped) pass(what string, d time.Duration) []Reply {
	s.t.Helper()
	s.now += d
	return s.rest(what)
}

// activate activates the machine again after a Detach.
func (s *stepped) activate(epoch uint32) {
	s.t.Helper()
	for done := false; !done; s.measured("sweep") {
		done = s.m.Sweep(func(Ref, uint32) {})
	}
	s.m.BeginPrepare()
	for done := false; !done; s.measured("prepare") {
		done = s.m.Prepare(s.now)
	}
	s.m.Activate(s.now, epoch, "n")
	s.measured("activate")
}

// Q6: no step touches more than a thousand entries or 64 KiB, whatever is stored and
// however long its texts are.
func TestEveryStepIsBounded(t *testing.T) {
	from := Ref{&listener{}, 1}
	for name, test := range map[string]func(s *stepped, n int){
		"all holds expire at once": func(s *stepped, n int) {
			for i := range n {
				s.acquire(from, s.key(i), "r", Request{})
			}
			s.pass("expire", 2*time.Minute)
			if s.m.Len() != 0 {
				s.t.Errorf("%d holds are left", s.m.Len())
			}
			s.pass("forget", finished.Keep)
			s.wantNothing()
		},
		"all are released, and memory is given back": func(s *stepped, n int) {
			tokens := make([]sharelock.Token, n)
			for i := range n {
				tokens[i] = s.acquire(from, s.key(i), "r", Request{}).Holds[0].Token
			}
			for i := range n - 10 {
				s.do("release", from, Request{Kind: Release, Key: s.key(i), Token: tokens[i], SentOnce: true})
			}
			if s.rest("tidy"); !s.wide {
				wantNoRoom(s.t, s.m)
			}
		},
		"a queue is granted at once": func(s *stepped, n int) {
			holder := s.acquire(from, s.key(0), "holder", Request{})
			for i := range n {
				s.acquire(from, s.key(0), fmt.Sprint("w", i), Request{Mode: sharelock.Shared, Wait: time.Minute})
			}
			s.do("release", from, Request{Kind: Release, Key: s.key(0), Token: holder.Holds[0].Token, SentOnce: true})
			if s.rest("serve"); s.m.Waiters() != 0 {
				s.t.Errorf("%d wait still", s.m.Waiters())
			}
		},
		"many queues of waiters that have gone": func(s *stepped, n int) {
			gone := &counter{}
			s.m.Quarantine(s.now, time.Second)
			for i := range n {
				s.acquire(Ref{gone, uint64(i)}, s.key(i%(n/30)), fmt.Sprint("w", i), Request{Wait: time.Minute})
			}
			gone.dead = true
			s.pass("the end of a quarantine", time.Second)
			s.m.Detach()
			s.measured("detach")
			s.activate(2)
			s.pass("settled", rules.LongestPeriod)
			// A new epoch begins while many are marked still.
			s.m.Detach()
			s.measured("detach")
			s.activate(3)
			if s.pass("silent", time.Minute); s.m.Waiters() != 0 {
				s.t.Errorf("%d wait still", s.m.Waiters())
			}
		},
		"reads": func(s *stepped, n int) {
			for i := range n {
				s.acquire(from, s.key(0), fmt.Sprint("r", i), Request{Slots: uint32(n / 2), Wait: time.Hour})
			}
			for what, r := range map[string]Request{
				"get": {Kind: Get}, "get of a client": {Kind: Get, ClientID: "nobody"}, "get from a token on": {Kind: Get, Token: sharelock.MakeToken(1, uint32(n/2-1))},
				"check": {Kind: Check, Token: sharelock.MakeToken(1, 1)}, "refused": {Kind: Acquire, ClientID: "c", RequestID: "late", TTL: time.Minute, Slots: uint32(n / 2)},
			} {
				r.Key = s.key(0)
				replies := append(s.do(what, from, r), s.rest(what)...)
				if len(replies) != 1 {
					s.t.Errorf("%s: %d answers", what, len(replies))
				}
			}
			scan := s.m.Scan("nobody", func([]byte) {})
			for !scan.Step() {
				s.measured("scan")
			}
		},
		"contention": func(s *stepped, n int) {
			for i := range n / 2 {
				s.acquire(from, s.key(i), "holds", Request{})
				s.acquire(from, s.key(i), "waits", Request{Wait: time.Hour})
			}
			s.pass("a read", time.Second)
			seen := 0
			for left := math.MaxInt; left > 0; s.measured("contention") {
				left = s.m.Contention(s.now, left, func(sharelock.Contention) { seen++ })
			}
			if seen != n/2 {
				s.t.Errorf("%d keys are waited for, want %d", seen, n/2)
			}
		},
		"renewals of many": func(s *stepped, n int) {
			for i := range min(n, MaxRenewals) {
				s.acquire(from, s.key(i), "r", Request{})
			}
			r := Request{Kind: RenewMany, Key: s.key(0), TTL: time.Hour}
			for i := range min(n, MaxRenewals) {
				r.Renewals = append(r.Renewals, &Renewal{Key: s.key(i), Token: sharelock.MakeToken(1, uint32(i+1)), TTL: time.Hour})
			}
			if s.wide {
				if a := s.do("renewals", from, r)[0].Answer; !errors.Is(a.Err, sharelock.ErrInvalidArgument) {
					s.t.Errorf("renewals of 256 KiB of keys: %+v", a)
				}
				r.Renewals = r.Renewals[:MaxRenewalBytes/sharelock.MaxKeyBytes]
			}
			if a := s.do("renewals", from, r)[0].Answer; a.Outcome != Done {
				s.t.Errorf("%+v", a)
			}
		},
	} {
		for _, wide := range []bool{false, true} {
			n := 16000
			if wide {
				n = 4000
			}
			t.Run(fmt.Sprint(name, ", long texts ", wide), func(t *testing.T) {
				test(&stepped{play: newPlay(t, n), wide: wide}, n)
			})
		}
	}
}

// A3: a read that takes many steps is what the key is at its end, whatever comes and goes
// meanwhile.
func TestReadInStepsIsOneState(t *testing.T) {
	const n = 600
	p := semaphore(t, n, n, 0)
	from := Ref{&listener{}, 1}
	if replies := p.step(reader, Request{Kind: Get, Key: "k", Send: 7}); len(replies) > 0 {
		t.Fatal("the read has taken one step")
	}
	var answers []Answer
	var want sharelock.KeyState
	do := func(r Request) {
		if len(answers) > 0 {
			return
		}
		want, _ = p.m.Lock(p.now, "k") // reads go on before the request is handled
		for _, r := range p.step(from, r) {
			if r.Ref == reader && r.Lock != nil {
				answers = append(answers, r.Answer)
			}
		}
		p.check()
	}
	for i := 0; len(answers) == 0; i++ {
		// A slot goes to the first waiter, one gives up, one comes.
		do(Request{Kind: Release, Key: "k", Token: sharelock.MakeToken(1, uint32(i+1)), SentOnce: true})
		do(Request{Kind: Cancel, Key: "k", RequestID: fmt.Sprint("r", 2*n-1-i), Drop: true})
		do(Request{Kind: Acquire, Key: "k", ClientID: "c", RequestID: fmt.Sprint("new", i), TTL: time.Hour, Wait: time.Hour, Slots: n, Send: 1})
	}
	got := answers[0].Lock
	if len(answers) != 1 || len(got.Holds) != n || got.HoldCount != n || len(got.Waiters) != got.WaiterCount || got.WaiterCount != want.WaiterCount {
		t.Fatalf("%d answers; %d holds of %d, %d waiters of %d, there are %d", len(answers), len(got.Holds), got.HoldCount, len(got.Waiters), got.WaiterCount, want.WaiterCount)
	}
	for i := range want.Holds {
		if got.Holds[i].Token != want.Holds[i].Token {
			t.Fatalf("hold %d has token %v, want %v", i, got.Holds[i].Token, want.Holds[i].Token)
		}
	}
	for i := range want.Waiters {
		if got.Waiters[i].RequestID != want.Waiters[i].RequestID {
			t.Fatalf("waiter %d is %s, want %s", i, got.Waiters[i].RequestID, want.Waiters[i].RequestID)
		}
	}
}

// A read under way is answered Retry by a Detach, and begins anew when the key is not what
// it was; one that has to wait for another has its turn.
func TestReadsUnderWay(t *testing.T) {
	p := semaphore(t, 500, 0, 0)
	other := Ref{&listener{name: "other"}, 2}
	get := Request{Kind: Get, Key: "k", Send: 7}
	p.step(reader, get)
	p.step(other, get)
	p.m.Detach()
	told := map[Ref]uint32{}
	for !p.m.Sweep(func(r Ref, send uint32) { told[r] = send }) {
	}
	if !maps.Equal(told, map[Ref]uint32{reader: 7, other: 7}) {
		t.Errorf("told were %v", told)
	}
	p.m.Activate(p.now, 2, "n")
	p.check()

	p.out = Out{}
	p.m.Step(p.now, reader, &get, &p.out)
	p.m.Step(p.now, other, &get, &p.out)
	p.pass(0)
	if len(p.out.Replies) != 2 || p.out.Replies[0].Ref != reader || p.out.Replies[1].Ref != other || len(p.out.Replies[1].Lock.Holds) != 500 {
		t.Errorf("two reads have %d answers", len(p.out.Replies))
	}

	p.step(reader, get)
	for i := range 500 {
		p.step(other, Request{Kind: Release, Key: "k", Token: sharelock.MakeToken(1, uint32(i+1)), SentOnce: true})
		for _, r := range p.out.Replies {
			if r.Ref == reader {
				if r.Lock == nil || len(r.Lock.Holds) != r.Lock.HoldCount {
					t.Errorf("%+v", r.Answer)
				}
				return
			}
		}
	}
	t.Error("the read was not answered")
}
