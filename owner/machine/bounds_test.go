package machine

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/invariant"
	"github.com/sgkandale/sharelock/internal/rules"
	"github.com/sgkandale/sharelock/owner/machine/finished"
)

// bounded is a machine of small bounds.
func bounded(t testing.TB, b Bounds) *play {
	p := newPlay(t, 1<<20)
	p.m.SetBounds(b)
	return p
}

func (p *play) wantQuota(what string, r Reply) {
	p.t.Helper()
	if r.Outcome != Failed || !errors.Is(r.Err, sharelock.ErrQuota) {
		p.t.Errorf("%s: %s: answer %+v, want QUOTA", invariant.Bounded, what, r.Answer)
	}
}

// conn is an acquire over a connection.
func (p *play) conn(conn uint32, r Request) Reply {
	p.t.Helper()
	r.Conn = conn
	replies := p.step(Ref{&listener{}, 1}, r)
	p.check()
	return replies[len(replies)-1]
}

// Q6: an acquire, a wait and a fence are refused before they enter the log when the
// partition is full, whether of holds, waiters or ids that are over. What ends, ends.
func TestPartitionIsBounded(t *testing.T) {
	const most = 100
	get := func(key, id string, wait time.Duration) Request {
		return Request{Kind: Acquire, Key: key, ClientID: "c", RequestID: id, TTL: time.Minute, Wait: wait, Send: 1, OwnID: true}
	}
	t.Run("entries", func(t *testing.T) {
		p := bounded(t, Bounds{Bytes: 1 << 30, Entries: most})
		var tokens []sharelock.Token
		for i := range most / 2 {
			r := p.conn(0, get(fmt.Sprint("k", i), "r", 0))
			tokens = append(tokens, r.Holds[0].Token)
			p.conn(0, get(fmt.Sprint("k", i), "waits", time.Minute))
		}
		seq := p.m.Seq()
		p.wantQuota("an acquire", p.conn(0, get("more", "r", 0)))
		p.wantQuota("a wait", p.conn(0, get("k0", "more", time.Minute)))
		if r := p.conn(0, get("k0", "try", 0)); !errors.Is(r.Err, sharelock.ErrLockHeld) {
			t.Errorf("a try of a held key: %v", r.Err)
		}
		if p.m.Seq() != seq {
			t.Errorf("%s: a refused request has entered the log", invariant.Bounded)
		}
		// What is there goes on: renewals, retries, releases, and ids that are over.
		if r := p.conn(0, get("k0", "r", 0)); r.Outcome != Done {
			t.Errorf("a retry: %+v", r.Answer)
		}
		for i, token := range tokens {
			key := fmt.Sprint("k", i)
			if r := p.conn(0, Request{Kind: Renew, Key: key, Token: token}); r.Outcome != Done {
				t.Errorf("a renewal: %+v", r.Answer)
			}
			if r := p.conn(0, Request{Kind: Cancel, Key: key, RequestID: "waits", Drop: true}); r.Outcome != Done {
				t.Errorf("a cancel: %+v", r.Answer)
			}
			if r := p.conn(0, Request{Kind: Release, Key: key, Token: token}); r.Outcome != Done {
				t.Errorf("a release: %+v", r.Answer)
			}
		}
		if n := p.m.Entries(); n != most || p.m.finished.Len() != most {
			t.Errorf("%d entries and %d finished ids, want %d", n, p.m.finished.Len(), most)
		}
		p.wantQuota("a fence", p.conn(0, Request{Kind: Cancel, Key: "k0", RequestID: "more", Drop: true}))
		if r := p.conn(0, get("more", "r", 0)); r.Outcome != Done {
			t.Errorf("an acquire among ids that are over: %+v", r.Answer)
		}
		p.pass(finished.Keep)
		if r := p.conn(0, get("yet more", "r", 0)); r.Outcome != Done {
			t.Errorf("an acquire after the ids were forgotten: %+v", r.Answer)
		}
	})
	t.Run("bytes", func(t *testing.T) {
		p := bounded(t, Bounds{Bytes: 100 << 10, Entries: 1 << 20})
		n := 0
		r := get("", "r", 0)
		r.Metadata = map[string]string{"a": strings.Repeat("b", sharelock.MaxMetadataBytes-1)}
		for ; n < 1000; n++ {
			r.Key = fmt.Sprint("k", n)
			if answer := p.conn(0, r); answer.Outcome != Done {
				p.wantQuota("an acquire with metadata", answer)
				break
			}
		}
		if n < 30 || n > 50 || p.m.Bytes() > 100<<10 {
			t.Errorf("%s: %d holds of some 2.5 KiB, %d bytes, fit into 100 KiB", invariant.Bounded, n, p.m.Bytes())
		}
		before := p.m.Bytes()
		p.pass(2 * time.Minute) // they expire
		if p.m.Len() != 0 || p.m.Bytes() >= before || p.m.Bytes() != n*finishedBytes {
			t.Errorf("%d bytes after all have expired, %d before", p.m.Bytes(), before)
		}
	})
}

// Q6: metadata that a renewal brings must have room; otherwise there is neither, and the hold
// is as it was. Less of it, or as much, always has.
func TestMetadataOfARenewalIsBounded(t *testing.T) {
	p := bounded(t, Bounds{Bytes: 5440, Entries: 1 << 20})
	meta := func(n int) map[string]string { return map[string]string{"m": strings.Repeat("x", n-1)} }
	get := Request{Kind: Acquire, Key: "k", ClientID: "c", RequestID: "r", TTL: time.Minute, Send: 1, Metadata: meta(1000)}
	token := p.conn(0, get).Holds[0].Token
	get.Key, get.Metadata = "l", meta(2000)
	p.conn(0, get)
	renew := func(m map[string]string) Reply {
		return p.conn(0, Request{Kind: Renew, Key: "k", Token: token, TTL: 2 * time.Minute, Metadata: m, Send: 1})
	}
	before, seq := p.m.Encode(p.now), p.m.Seq()
	p.wantQuota("a renewal with more metadata", renew(meta(1900)))
	if !bytes.Equal(p.m.Encode(p.now), before) || p.m.Seq() != seq {
		t.Error("a renewal that was refused has changed the hold")
	}
	for _, n := range []int{1000, 500, 1100} {
		if r := renew(meta(n)); r.Outcome != Done || len(r.Holds[0].Metadata["m"]) != n-1 || r.Holds[0].TTL != 2*time.Minute {
			t.Errorf("a renewal with %d bytes: %+v", n, r.Answer)
		}
	}
	if r := renew(map[string]string{}); r.Outcome != Done || r.Holds[0].Metadata != nil {
		t.Errorf("a renewal that takes the metadata away: %+v", r.Answer)
	}
	if w := p.m.keys.claims.At(1).extra; w != 0 {
		t.Error("a hold without metadata keeps room for it")
	}
	if r := p.conn(0, Request{Kind: Renew, Key: "k", Token: token, Metadata: meta(sharelock.MaxMetadataBytes + 1)}); !errors.Is(r.Err, sharelock.ErrInvalidArgument) {
		t.Errorf("too much for any hold: %+v", r.Answer)
	}
}

// Q6: one connection cannot fill a partition with ids that are over, by taking and
// giving back keys with ids of its own, or by giving up ids that were never seen. Others
// go on, and so does it where nothing must be remembered.
func TestShareOfAConnection(t *testing.T) {
	const most, share = 800, 100
	for name, turn := range map[string]func(p *play, conn uint32, i int) Reply{
		"ids of its own": func(p *play, conn uint32, i int) Reply {
			key := fmt.Sprint("k", i%64)
			r := p.conn(conn, Request{Kind: Acquire, Key: key, ClientID: "c", RequestID: fmt.Sprint(conn, i), TTL: time.Minute, Send: 1, OwnID: true})
			if r.Outcome != Done {
				return r
			}
			return p.conn(conn, Request{Kind: Release, Key: key, Token: r.Holds[0].Token})
		},
		"fences": func(p *play, conn uint32, i int) Reply {
			return p.conn(conn, Request{Kind: Cancel, Key: "k", RequestID: fmt.Sprint(conn, i), Drop: true})
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := bounded(t, Bounds{Bytes: 1 << 30, Entries: most})
			backup := New(0, 10)
			n := 0
			for ; n < most; n++ {
				r := turn(p, 7, n)
				if r.Outcome != Done {
					p.wantQuota("beyond the share", r)
					break
				}
			}
			if n != share {
				t.Errorf("%s: one connection filled %d entries, want %d", invariant.Bounded, n, share)
			}
			once := Request{Kind: Acquire, Key: "other", ClientID: "c", RequestID: "once", TTL: time.Minute, Send: 1}
			p.wantQuota("the same connection with another id", p.conn(7, once))
			for i := range share {
				if r := turn(p, 8, i); r.Outcome != Done {
					t.Fatalf("another connection after %d: %+v", i, r.Answer)
				}
			}
			// A new owner knows the shares.
			if err := backup.Decode(p.now, p.m.Encode(p.now)); err != nil {
				t.Fatal(err)
			}
			backup.SetBounds(Bounds{Bytes: 1 << 30, Entries: most})
			backup.Activate(p.now, 2, "n")
			p.m = backup
			p.wantQuota("at a new owner", p.conn(7, once))
			p.pass(finished.Keep)
			if r := p.conn(7, once); r.Outcome != Done || p.m.used.shares != nil {
				t.Errorf("after the ids were forgotten: %+v, shares %v", r.Answer, p.m.used.shares)
			}
		})
	}
}

// Q6: however many ids are remembered of however many connections, one that has none takes
// keys, as many as there may be. The ids never exceed their bound and what the claims that
// were there have left.
func TestFinishedIDsLeaveRoomForHolds(t *testing.T) {
	const most, share = 800, 100
	p := bounded(t, Bounds{Bytes: 1 << 30, Entries: most})
	turn := func(conn uint32, i int) Reply {
		r := p.conn(conn, Request{Kind: Acquire, Key: "k", ClientID: "c", RequestID: fmt.Sprint(conn, "-", i), TTL: time.Minute, Send: 1, OwnID: true})
		if r.Outcome == Done {
			p.conn(conn, Request{Kind: Release, Key: "k", Token: r.Holds[0].Token})
		}
		return r
	}
	for conn := uint32(1); conn <= 20; conn++ {
		n := 0
		for ; n <= share; n++ {
			if r := turn(conn, n); r.Outcome != Done {
				p.wantQuota("a connection that fills its share", r)
				break
			}
		}
		if n > share {
			t.Errorf("%s: connection %d has %d ids remembered, its share is %d", invariant.Bounded, conn, n, share)
		}
	}
	if n := p.m.finished.Len(); n < most || n > most+20 {
		t.Errorf("%d ids are remembered, their bound is %d", n, most)
	}
	left := 2*most - p.m.finished.Len()
	for i := range left {
		r := p.conn(99, Request{Kind: Acquire, Key: fmt.Sprint("new", i), ClientID: "c", RequestID: "r", TTL: time.Hour, Send: 1, OwnID: true})
		if r.Outcome != Done {
			t.Fatalf("%s: a connection without ids is refused its acquire %d: %v", invariant.Bounded, i, r.Err)
		}
	}
	p.wantQuota("one more", p.conn(99, Request{Kind: Acquire, Key: "more", ClientID: "c", RequestID: "r", TTL: time.Hour, Send: 1}))
	if p.pass(finished.Keep); p.m.Entries() != left {
		t.Errorf("%d entries are left, want %d holds", p.m.Entries(), left)
	}
}

// Q6: a fence ends whatever has become of a request id, in one message, and what comes
// late is told that it is over.
func TestFence(t *testing.T) {
	get := Request{Kind: Acquire, Key: "k", ClientID: "c", RequestID: "r", TTL: time.Minute, Wait: time.Minute, Send: 1, OwnID: true}
	fence := Request{Kind: Cancel, Key: "k", RequestID: "r", Drop: true, Send: 2}
	for name, before := range map[string]func(p *play, listens Ref){
		"never seen": func(*play, Ref) {},
		"held":       func(p *play, listens Ref) { p.step(listens, get) },
		"waiting": func(p *play, listens Ref) {
			p.acquire(Ref{&listener{}, 1}, "k", "holder", 0)
			p.step(listens, get)
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlay(t, 10)
			backup := New(0, 10)
			listens := Ref{&listener{name: "listens"}, 1}
			before(p, listens)
			held := p.m.Len()
			replies := p.step(Ref{&listener{name: "gives up"}, 1}, fence)
			if r := replies[len(replies)-1]; r.Outcome != Done {
				t.Errorf("the fence: %+v", r.Answer)
			}
			if name == "waiting" && (len(replies) != 2 || replies[0].Ref != listens || !errors.Is(replies[0].Err, sharelock.ErrRequestOver)) {
				t.Errorf("who listens is told %+v", replies)
			}
			if name == "held" && p.m.Len() != held-1 {
				t.Error("the grant was not released")
			}
			if p.m.Waiters() != 0 {
				t.Error("it waits still")
			}
			if r := p.conn(0, get); !errors.Is(r.Err, sharelock.ErrRequestOver) {
				t.Errorf("the acquire that comes late: %+v", r.Answer)
			}
			if r := p.conn(0, fence); r.Outcome != Done {
				t.Errorf("the fence once more: %+v", r.Answer)
			}
			if err := backup.Decode(p.now, p.m.Encode(p.now)); err != nil || !bytes.Equal(backup.Encode(p.now), p.m.Encode(p.now)) {
				t.Errorf("a copy differs: %v", err)
			}
			p.pass(rules.FenceTime - 1)
			if r := p.conn(0, get); !errors.Is(r.Err, sharelock.ErrRequestOver) {
				t.Errorf("the acquire after 33 s: %+v", r.Answer)
			}
			if p.pass(1); name == "never seen" && p.m.finished.Len() != 0 {
				t.Error("a fence is kept for longer than any send of its id")
			}
		})
	}
}
