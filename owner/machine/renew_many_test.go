package machine

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/rules"
	"github.com/sgkandale/sharelock/owner/ops"
)

// One request renews many holds, each by its own token, with one op for all whose TTLs
// stay.
func TestRenewMany(t *testing.T) {
	p := newPlay(t, 10)
	from := Ref{&listener{name: "a"}, 1}
	var r Request
	for i := range 5 {
		key := fmt.Sprint("k", i)
		reply := p.acquire(from, key, "r", 0)
		r.Renewals = append(r.Renewals, &Renewal{Key: key, Token: reply.Holds[0].Token, TTL: time.Minute})
	}
	r.Kind, r.Key, r.TTL = RenewMany, "k0", time.Minute
	p.now += 30 * time.Second
	p.step(from, Request{Kind: Release, Key: "k1", Token: r.Renewals[1].Token})
	p.step(from, Request{Kind: Force, Key: "k3", Token: r.Renewals[3].Token})
	next := p.acquire(from, "k3", "r2", 0).Holds[0]
	replies := p.step(from, r)
	if len(replies) != 1 || replies[0].Outcome != Done || replies[0].Unrenewed == nil || !slices.Equal(replies[0].Unrenewed.Lost, []uint32{1, 3}) {
		t.Fatalf("replies %+v, want one that names 1 and 3 as lost", replies)
	}
	if len(p.out.Ops) != 1 || p.out.Ops[0].Kind != ops.Read || replies[0].Seq != p.m.Seq() {
		t.Errorf("ops %+v, want one, and the answer behind it", p.out.Ops)
	}
	p.check()
	for i := range 5 {
		l, held := p.m.Lock(p.now, fmt.Sprint("k", i))
		want := rules.Stretch(time.Minute)
		switch {
		case i == 1 && held:
			t.Error("the hold that was released is back")
		case i == 1:
		case l.Holds[0].ExpiresIn != want:
			t.Errorf("k%d expires in %v, want %v", i, l.Holds[0].ExpiresIn, want)
		case i == 3 && l.Holds[0].Token != next.Token:
			t.Error("the next hold of the key was changed")
		}
	}
	if r := p.step(from, Request{Kind: RenewMany, Key: "k1", TTL: time.Minute, Renewals: r.Renewals[1:2]}); len(p.out.Ops) > 0 || r[0].Unrenewed == nil || len(r[0].Unrenewed.Lost) != 1 {
		t.Errorf("a renewal of nothing made ops %v, answer %+v", p.out.Ops, r[0])
	}
}

// A hold gets the TTL that its holder counts on, in all copies; a longer one stays.
func TestRenewManyTTL(t *testing.T) {
	p := newPlay(t, 10)
	from := Ref{&listener{name: "a"}, 1}
	token := p.acquire(from, "k", "r", 0).Holds[0].Token
	for _, tt := range []struct{ ttl, want time.Duration }{{time.Second, time.Minute}, {2 * time.Minute, 2 * time.Minute}, {time.Minute, 2 * time.Minute}} {
		p.step(from, Request{Kind: RenewMany, Key: "k", TTL: tt.ttl, Renewals: []*Renewal{{Key: "k", Token: token, TTL: tt.ttl}}})
		kind := ops.Read
		if tt.ttl > time.Minute {
			kind = ops.Renew
		}
		if h := p.m.byKey(t, "k"); h.TTL != tt.want || h.ExpiresIn != rules.Stretch(tt.want) || len(p.out.Ops) != 1 || p.out.Ops[0].Kind != kind {
			t.Errorf("renewed for %v: ttl %v, expires in %v, ops %v", tt.ttl, h.TTL, h.ExpiresIn, p.out.Ops)
		}
	}
}

func (m *Machine) byKey(t *testing.T, key string) sharelock.Hold {
	t.Helper()
	l, ok := m.Lock(0, key)
	if !ok {
		t.Fatalf("%q is not held", key)
	}
	return l.Holds[0]
}

// In a quarantine a renewal is lost (section 4).
func TestRenewManyInQuarantine(t *testing.T) {
	p := newPlay(t, 10)
	p.m.Quarantine(0, time.Minute)
	r := p.step(Ref{&listener{name: "a"}, 1}, Request{Kind: RenewMany, Key: "k", TTL: time.Second, Renewals: []*Renewal{{Key: "k", Token: 7, TTL: time.Second}}})
	if len(r) != 1 || r[0].Outcome != Done || r[0].Unrenewed == nil || len(r[0].Unrenewed.Lost) != 1 {
		t.Errorf("replies %+v, want one that names the hold as lost", r)
	}
}

func TestRenewManyRefused(t *testing.T) {
	p := newPlay(t, 10)
	n := &Renewal{Key: "k", Token: 7, TTL: time.Second}
	for name, r := range map[string]Request{
		"none":             {},
		"too many":         {TTL: time.Second, Renewals: slices.Repeat([]*Renewal{n}, MaxRenewals+1)},
		"no TTL":           {TTL: time.Second, Renewals: []*Renewal{{Key: "k", Token: 7}}},
		"a TTL of its own": {TTL: time.Millisecond, Renewals: []*Renewal{n}},
	} {
		r.Kind, r.Key = RenewMany, "k"
		if got := p.step(Ref{&listener{name: "a"}, 1}, r); len(got) != 1 || !errors.Is(got[0].Err, sharelock.ErrInvalidArgument) {
			t.Errorf("%s: replies %+v", name, got)
		}
	}
}

func BenchmarkRenewMany(b *testing.B) {
	const keys, group = 1 << 16, 64 // as many as a partition may have
	m := New(0, 0)
	m.Activate(0, 1, "n")
	var out Out
	from := Ref{&listener{name: "a"}, 1}
	list := make([]*Renewal, keys)
	for i := range list {
		out.Ops, out.Replies = out.Ops[:0], out.Replies[:0]
		key := fmt.Sprintf("key/%012d", i)
		m.Step(0, from, &Request{Kind: Acquire, Key: key, ClientID: "c", RequestID: key, TTL: time.Minute}, &out)
		list[i] = &Renewal{Key: key, Token: out.Replies[0].Holds[0].Token, TTL: time.Minute}
	}
	b.ReportAllocs()
	at := 0
	for i := 0; b.Loop(); i++ {
		if i%group > 0 {
			continue // so that one round is one hold
		}
		out.Ops, out.Replies = out.Ops[:0], out.Replies[:0]
		at = (at + group) % keys
		m.Step(time.Duration(i), from, &Request{Kind: RenewMany, Key: list[at].Key, TTL: time.Minute, Renewals: list[at : at+group]}, &out)
	}
}

// The answer to a renewal names the TTL that was asked for, or the one that the hold keeps, though
// the hold may not end earlier than its holder was told (Q3). A shorter TTL takes effect when less
// than that is left, whoever renews the hold.
func TestRenewForLess(t *testing.T) {
	const asked = 5 * time.Second
	for _, many := range []bool{false, true} {
		p := newPlay(t, 10)
		from := Ref{&listener{name: "a"}, 1}
		token := p.acquire(from, "k", "r", 0).Holds[0].Token
		renew := func(ttl time.Duration) sharelock.Hold {
			t.Helper()
			r := p.conn(0, Request{Kind: Renew, Key: "k", Token: token, TTL: ttl})
			if r.Outcome != Done {
				t.Fatalf("got %+v", r.Answer)
			}
			return r.Holds[0]
		}
		less := func() {
			t.Helper()
			if many {
				p.step(from, Request{Kind: RenewMany, Key: "k", TTL: asked, Renewals: []*Renewal{{Key: "k", Token: token, TTL: asked}}})
			} else if h := renew(asked); h.TTL != asked {
				t.Errorf("asked for %v, got %v", asked, h.TTL)
			}
		}
		p.now += time.Second
		less()
		ends := rules.Stretch(time.Minute)
		if h, _ := p.m.Lock(p.now, "k"); h.Holds[0].TTL != time.Minute || h.Holds[0].ExpiresIn != ends-time.Second {
			t.Errorf("ttl %v, ends in %v, want %v and %v as before", h.Holds[0].TTL, h.Holds[0].ExpiresIn, time.Minute, ends-time.Second)
		}
		p.now += 58 * time.Second
		less()
		if h, _ := p.m.Lock(p.now, "k"); h.Holds[0].TTL != time.Minute {
			t.Errorf("ttl %v while more than that is left", h.Holds[0].TTL)
		}
		p.now += 2 * time.Second
		less()
		if h, _ := p.m.Lock(p.now, "k"); h.Holds[0].TTL != asked || h.Holds[0].ExpiresIn != rules.Stretch(asked) {
			t.Errorf("ttl %v, ends in %v", h.Holds[0].TTL, h.Holds[0].ExpiresIn)
		}
		if h := renew(0); h.TTL != asked {
			t.Errorf("it keeps %v, got %v", asked, h.TTL)
		}
		p.check()
	}
}

// Metadata that comes with a shorter TTL is replaced, and neither the end nor the TTL changes.
func TestRenewForLessWithMetadata(t *testing.T) {
	p := newPlay(t, 10)
	token := p.acquire(Ref{&listener{name: "a"}, 1}, "k", "r", 0).Holds[0].Token
	p.now += time.Second
	r := p.conn(0, Request{Kind: Renew, Key: "k", Token: token, TTL: 5 * time.Second, Metadata: map[string]string{"step": "3"}})
	if h := r.Holds[0]; r.Outcome != Done || h.TTL != 5*time.Second || h.Metadata["step"] != "3" {
		t.Errorf("got %+v", r.Answer)
	}
	if l, _ := p.m.Lock(p.now, "k"); l.Holds[0].TTL != time.Minute || l.Holds[0].ExpiresIn != rules.Stretch(time.Minute)-time.Second {
		t.Errorf("ttl %v, ends in %v", l.Holds[0].TTL, l.Holds[0].ExpiresIn)
	}
	p.check()
}

// A retry of an acquire that asks for less is not told to trust the hold beyond its end.
func TestRepeatForLess(t *testing.T) {
	p := newPlay(t, 10)
	from := Ref{&listener{name: "a"}, 1}
	const asked = 5 * time.Second
	again := Request{Kind: Acquire, Key: "k", ClientID: "c", RequestID: "r", TTL: asked, Send: 2}
	p.acquire(from, "k", "r", 0)
	p.now += 50 * time.Second
	r := p.step(from, again)
	if len(r) != 1 || r[0].Outcome != Done || r[0].Holds[0].TTL != asked {
		t.Fatalf("got %+v", r)
	}
	if left := r[0].Holds[0].ExpiresIn; left != rules.Stretch(time.Minute)-50*time.Second {
		t.Errorf("it ends in %v", left)
	}
	p.check()
}
