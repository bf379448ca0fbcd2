package machine

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/invariant"
	"github.com/sgkandale/sharelock/internal/release"
	"github.com/sgkandale/sharelock/owner/machine/principals"
)

// owned is a machine in a view that has principals.
func owned(t testing.TB) *play {
	p := newPlay(t, 100)
	p.m.SetRelease(release.Principals)
	return p
}

// of is a request of a principal.
func (p *play) of(principal string, r Request) Reply {
	p.t.Helper()
	r.Principal = principal
	return p.conn(1, r)
}

// get is an acquire that waits.
func (p *play) get(principal, key, id string) Reply {
	p.t.Helper()
	return p.of(principal, Request{Kind: Acquire, Key: key, ClientID: "c", RequestID: id, TTL: time.Minute, Wait: time.Minute, Send: 1, OwnID: true})
}

// Q7: a hold is renewed and released by its principal alone, one by one or many at once; what another
// asks does not harm it.
func TestHoldsOfAnotherPrincipal(t *testing.T) {
	p := owned(t)
	token := p.get("ci", "k", "r").Holds[0].Token
	p.pass(30 * time.Second)
	before := p.m.Encode(p.now)
	left, _ := p.m.Next()
	for _, kind := range []Kind{Renew, Release} {
		a := p.of("apps", Request{Kind: kind, Key: "k", Token: token})
		if !errors.Is(a.Err, sharelock.ErrPermissionDenied) || !strings.Contains(a.Err.Error(), `"ci"`) || !strings.Contains(a.Err.Error(), `key "k"`) {
			t.Errorf("%s: kind %d of another principal is answered %+v", invariant.OwnHolds, kind, a.Answer)
		}
	}
	many := Request{Kind: RenewMany, Key: "k", TTL: time.Minute, Renewals: []*Renewal{{Key: "k", Token: token, TTL: time.Minute, Principal: "apps"}}}
	if a := p.of("", many); a.Unrenewed == nil || len(a.Unrenewed.Denied) != 1 || len(a.Unrenewed.Lost) > 0 {
		t.Errorf("%s: a renewal of many of another principal is answered %+v", invariant.OwnHolds, a.Answer)
	}
	if now, _ := p.m.Next(); now != left || !bytes.Equal(p.m.Encode(p.now), before) {
		t.Errorf("%s: what was denied has changed the hold", invariant.OwnHolds)
	}
	if a := p.of("ci", Request{Kind: Release, Key: "k", Token: token}); a.Outcome != Done {
		t.Errorf("its principal releases it: %+v", a.Answer)
	}
}

// Q7: the same request id of two principals is two requests, while they wait, hold, and are over.
func TestSameIDOfTwoPrincipals(t *testing.T) {
	for _, crowd := range []int{0, 2 * indexFrom} { // without an index of the key's ids, and with one
		p := owned(t)
		first := p.get("ci", "k", "r")
		for i := range crowd {
			p.get("ci", "k", fmt.Sprint("others", i))
		}
		if a := p.get("apps", "k", "r"); a.Outcome != Queued {
			t.Errorf("%s: the id of another principal is answered %+v", invariant.OwnHolds, a.Answer)
			continue
		}
		if a := p.get("ci", "k", "r"); a.Outcome != Done || a.Holds[0].Token != first.Holds[0].Token {
			t.Errorf("%s: a retry is answered %+v", invariant.OwnHolds, a.Answer)
		}
		p.of("ops", Request{Kind: Cancel, Key: "k", ClientID: "c", RequestID: "r", Drop: true})
		if l, _ := p.m.Lock(p.now, "k"); len(l.Holds) != 1 || l.WaiterCount != crowd+1 {
			t.Errorf("%s: giving up the id of a third principal left %+v", invariant.OwnHolds, l)
		}
		p.of("apps", Request{Kind: Cancel, Key: "k", ClientID: "c", RequestID: "r", Drop: true})
		if l, _ := p.m.Lock(p.now, "k"); l.WaiterCount != crowd || len(l.Holds) != 1 || l.Holds[0].Principal != "ci" {
			t.Errorf("%s: giving up the waiter left %+v", invariant.OwnHolds, l)
		}
		if a := p.get("apps", "k", "r"); !errors.Is(a.Err, sharelock.ErrRequestOver) {
			t.Errorf("the id that was given up is answered %+v", a.Answer)
		}
		if a := p.get("else", "k", "r"); a.Outcome != Queued {
			t.Errorf("%s: an id that is over is over for another principal: %+v", invariant.OwnHolds, a.Answer)
		}
	}
}

// While nodes begin to authenticate their callers, a request may come twice, once with a principal and once
// without. Whatever comes first, it finds its claim. What was over without a principal is over for every
// one; what was over for a principal may be granted once more without one, after the holder at that time,
// never beside it, and ends with its TTL.
func TestIDsWhileAuthenticationIsTurnedOn(t *testing.T) {
	p := owned(t)
	for i, first := range []string{"ci", ""} {
		second := []string{"", "ci"}[i]
		key := "k" + first
		held := p.get(first, key, "r").Holds[0].Token
		if a := p.get(second, key, "r"); a.Outcome != Done || a.Holds[0].Token != held {
			t.Errorf("the request of %q comes again of %q and is answered %+v", first, second, a.Answer)
		}
		if a := p.of(first, Request{Kind: Release, Key: key, Token: held}); a.Outcome != Done {
			t.Fatalf("release: %+v", a.Answer)
		}
		next := p.get("other", key, "r2").Holds[0].Token
		a := p.get(second, key, "r")
		if second == "ci" {
			if !errors.Is(a.Err, sharelock.ErrRequestOver) {
				t.Errorf("an id that was over without a principal is answered %+v", a.Answer)
			}
			continue
		}
		if a.Outcome != Queued {
			t.Errorf("%s: a late duplicate beside a holder is answered %+v", invariant.OneHolder, a.Answer)
		}
		p.of("other", Request{Kind: Release, Key: key, Token: next})
		p.pass(2 * time.Minute)
		if l, held := p.m.Lock(p.now, key); held {
			t.Errorf("a late duplicate that nobody renews holds its key for more than its TTL: %+v", l)
		}
	}
}

// Q7: principals are in the copies, with the counts that follow from them.
func TestPrincipalsAreCopied(t *testing.T) {
	p := owned(t)
	token := p.get("ci", "k", "r").Holds[0].Token
	p.get("apps", "k", "other")
	p.get("ci", "l", "r")
	if count := p.counts(); count != "apps 0/1 ci 2/0" {
		t.Errorf("counted %q", count)
	}
	backup := New(0, 100)
	if err := backup.Decode(p.now, p.m.Encode(p.now)); err != nil {
		t.Fatal(err)
	}
	backup.SetRelease(release.Principals)
	backup.Activate(p.now, 2, "n")
	p.m = backup
	if count := p.counts(); count != "apps 0/1 ci 2/0" {
		t.Errorf("%s: counted %q in a copy", invariant.OwnHolds, count)
	}
	if a := p.of("apps", Request{Kind: Release, Key: "k", Token: token}); !errors.Is(a.Err, sharelock.ErrPermissionDenied) {
		t.Errorf("%s: at a new owner another principal is answered %+v", invariant.OwnHolds, a.Answer)
	}
	p.pass(time.Hour)
	if p.check(); !reflect.DeepEqual(p.m.keys.principals, principals.Table{}) {
		t.Errorf("%d principals are left without a claim", p.m.keys.principals.Len())
	}
}

// counts returns the numbers of the holds and waiters of each principal.
func (p *play) counts() string {
	var list []string
	for _, name := range []string{"apps", "ci"} {
		p.m.Principals(func(n string, holds, waiters int) {
			if n == name {
				list = append(list, fmt.Sprintf("%s %d/%d", n, holds, waiters))
			}
		})
	}
	return strings.Join(list, " ")
}

// Q6: all connections of a principal have one share of the ids that are over, and its name counts
// among the bytes of what it has.
func TestShareOfAPrincipal(t *testing.T) {
	const most, share = 800, 100
	p := bounded(t, Bounds{Bytes: 1 << 30, Entries: most})
	p.m.SetRelease(release.Principals)
	fence := func(principal string, i int) Reply {
		r := Request{Kind: Cancel, Key: "k", RequestID: fmt.Sprint(i), Drop: true, Principal: principal}
		return p.conn(uint32(i)+1, r) // each over a connection of its own
	}
	for i := range share {
		if r := fence("ci", i); r.Outcome != Done {
			t.Fatalf("fence %d: %+v", i, r.Answer)
		}
	}
	p.wantQuota("beyond the share of the principal", fence("ci", share))
	if r := fence("apps", share); r.Outcome != Done {
		t.Errorf("another principal: %+v", r.Answer)
	}
	before := p.m.Bytes()
	name := strings.Repeat("p", sharelock.MaxPrincipalBytes)
	if r := p.get(name, "l", "r"); r.Outcome != Done || p.m.Bytes()-before < len(name)+claimBytes {
		t.Errorf("a hold of a principal with a long name takes %d bytes: %+v", p.m.Bytes()-before, r.Answer)
	}
	if r := p.get(name+"p", "m", "r"); !errors.Is(r.Err, sharelock.ErrInvalidArgument) {
		t.Errorf("a name that is too long: %+v", r.Answer)
	}
}

// A claim without a principal is as small as ever: the number of its principal has no room of its own.
func TestPrincipalsTakeNoRoomWhenOff(t *testing.T) {
	p := newPlay(t, 100)
	for i := range 100 {
		p.acquire(Ref{&listener{}, 1}, fmt.Sprint("k", i), "r", 0)
	}
	if !reflect.DeepEqual(p.m.keys.principals, principals.Table{}) {
		t.Error("principals take room though there is none")
	}
	if size := reflect.TypeFor[claim]().Size(); size != 40 {
		t.Errorf("a claim has %d bytes, want 40", size)
	}
}
