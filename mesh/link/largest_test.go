package link

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/rules"
	"github.com/sgkandale/sharelock/mesh/epoch/epochtest"
	"github.com/sgkandale/sharelock/owner"
)

// The largest of everything that a frame carries.

func longest(n int) string { return strings.Repeat("x", n) }

func largestMetadata() map[string]string {
	m := map[string]string{}
	for i := range sharelock.MaxMetadataPairs {
		k := fmt.Sprintf("%02d", i)
		m[k] = longest(sharelock.MaxMetadataBytes/sharelock.MaxMetadataPairs - len(k))
	}
	return m
}

func largestHold() sharelock.Hold {
	return sharelock.Hold{
		Key: longest(sharelock.MaxKeyBytes), Token: 1<<63 - 1, ClientID: longest(sharelock.MaxClientIDBytes),
		RequestID: longest(sharelock.MaxRequestIDBytes), Principal: longest(sharelock.MaxPrincipalBytes), Slots: sharelock.MaxSlots, TTL: 24 * time.Hour, ExpiresIn: 24 * time.Hour,
		Node: longest(64), Metadata: largestMetadata(),
	}
}

// largestRequests are the largest requests that nodes forward.
func largestRequests() []*owner.Request {
	h := largestHold()
	r := owner.Request{
		Key: h.Key, ClientID: h.ClientID, RequestID: h.RequestID, Principal: h.Principal, Token: h.Token, TTL: h.TTL, Wait: h.TTL, Slots: h.Slots,
		Metadata: h.Metadata, Send: 1<<32 - 1, OwnID: true, SentOnce: true, Drop: true, Reason: longest(sharelock.MaxReasonBytes),
	}
	var all []*owner.Request
	for kind := owner.Acquire; kind <= owner.RenewMany; kind++ {
		one := r
		one.Kind = kind
		all = append(all, &one)
	}
	many := all[len(all)-1] // as package keepalive makes it: keys and principals of 16 KiB
	for range owner.MaxRenewalBytes / (len(h.Key) + len(h.Principal)) {
		many.Renewals = append(many.Renewals, &owner.Renewal{Key: h.Key, Token: h.Token, TTL: h.TTL, Principal: h.Principal})
	}
	short := r
	short.Kind, short.Key = owner.RenewMany, "k"
	for range owner.MaxRenewals {
		short.Renewals = append(short.Renewals, &owner.Renewal{Key: "k", Token: h.Token, TTL: h.TTL})
	}
	return append(all, &short)
}

// However much waits for a link, each frame is one that the other end takes, and nothing is
// left out.
func TestLargestLinkRequests(t *testing.T) {
	l := newLink(nil, epochtest.Member("b"))
	requests := largestRequests()
	const rounds = 1000
	for range rounds {
		for _, r := range requests {
			l.last++
			l.queue = append(l.queue, forward{id: l.last, epoch: 1<<32 - 1, req: r, principals: true})
		}
	}
	e := owner.Entries{Partition: 1<<32 - 1, First: 1<<64 - 1, Ops: make([]byte, 260<<10)}
	l.entries, l.epoch = slices.Repeat([]owner.Entries{e, {Partition: 1, First: 1, Ops: []byte("x")}}, 500), 1<<32-1
	calls, entries, largest := uint64(0), 0, 0
	for frame := l.take(nil); len(frame) > 0; frame = l.take(nil) {
		largest = max(largest, len(frame))
		var m requestFrame
		if err := m.read(frame); err != nil {
			t.Fatal(err)
		}
		for _, c := range m.forwards {
			if calls++; c.id != calls {
				t.Fatalf("call %d comes as number %d", c.id, calls)
			}
		}
		entries += len(m.entries)
	}
	t.Logf("the largest frame has %d bytes", largest)
	if want := uint64(rounds * len(requests)); calls != want || entries != 1000 {
		t.Errorf("%d calls and %d entries arrive, want %d and 1000", calls, entries, want)
	}
	if largest > rules.MaxPeerMessage {
		t.Errorf("a frame has %d bytes, the most is %d", largest, rules.MaxPeerMessage)
	}
}

// A request that does not fit into a frame is answered with an error, and those around it go
// their way.
func TestTooLargeARequest(t *testing.T) {
	l := newLink(nil, epochtest.Member("b"))
	var heard answersTo
	huge := &owner.Request{Kind: owner.Acquire, Key: "k", Send: 3, Reason: longest(maxForwardBytes)}
	for _, r := range []*owner.Request{{Key: "a"}, huge, {Key: "b"}} {
		l.queue = append(l.queue, forward{id: l.Register(owner.Ref{Caller: &heard, ID: uint64(len(l.queue))}), req: r})
	}
	var m requestFrame
	if err := m.read(l.take(nil)); err != nil || len(m.forwards) != 2 || m.forwards[0].req.Key != "a" || m.forwards[1].req.Key != "b" {
		t.Errorf("the frame has %d calls: %v", len(m.forwards), err)
	}
	got := heard.answers
	if len(got) != 1 || got[0].Outcome != owner.Failed || got[0].Send != 3 || !isTooLarge(got[0].Err) {
		t.Errorf("the caller hears %+v", got)
	}
}

// answersTo is a caller that keeps what it hears.
type answersTo struct{ answers []owner.Answer }

func (c *answersTo) Answer(_ uint64, a owner.Answer) { c.answers = append(c.answers, a) }
func (*answersTo) Alive() bool                       { return true }

// However much an owner answers, each frame is one that the asking node takes, and an
// answer that is too large is an error for its call alone.
func TestLargestLinkAnswers(t *testing.T) {
	views, _ := epochtest.New("a", func() time.Duration { return 0 })
	e := newOwnerEnd(views, "b")
	h := largestHold()
	few := slices.Repeat([]sharelock.Hold{h}, sharelock.MaxHolders)
	largest := sharelock.KeyState{Key: h.Key, Owner: longest(64), Holds: slices.Repeat([]sharelock.Hold{h}, sharelock.MaxListedBytes/3000+1)}
	broken := sharelock.KeyState{Key: h.Key, Holds: slices.Repeat([]sharelock.Hold{h}, 2000)}
	answers := []owner.Answer{
		{Outcome: owner.Done, Holds: few[:1]},
		{Outcome: owner.Done, Lock: &largest},
		{Outcome: owner.Done, Lock: &broken},
		{Outcome: owner.Failed, Err: &sharelock.Error{Err: sharelock.ErrLockHeld, Message: longest(512), Field: longest(64), Holds: few, Queue: 1 << 30}},
		{Outcome: owner.Failed, Err: &sharelock.Error{Err: sharelock.ErrLockHeld, Holds: broken.Holds}},
		{Outcome: owner.Done, Unrenewed: &owner.Unrenewed{Lost: slices.Repeat([]uint32{owner.MaxRenewals}, owner.MaxRenewals)}},
	}
	const rounds = 4
	for i := range uint64(rounds * len(answers)) {
		a := answers[i%uint64(len(answers))]
		a.Send = uint32(i)
		e.Answer(i, a)
	}
	const acks = 1 << 20
	for i := range uint64(acks) {
		e.ack(1<<32-1, owner.Ack{Partition: 1<<32 - 1, Seq: 1<<64 - 1 - i, Gap: true})
	}
	size, got, acked := 0, uint64(0), 0
	for frame := e.take(nil); len(frame) > 0; frame = e.take(nil) {
		size = max(size, len(frame))
		var m responseFrame
		if err := m.read(frame, "b"); err != nil {
			t.Fatal(err)
		}
		for _, a := range m.replies {
			if a.id != got || a.answer.Send != uint32(got) {
				t.Fatalf("answer %d to send %d comes as number %d", a.id, a.answer.Send, got)
			}
			want := answers[got%uint64(len(answers))]
			refusal, _ := errors.AsType[*sharelock.Error](want.Err)
			huge := want.Lock == &broken || refusal != nil && len(refusal.Holds) > 1000
			if isTooLarge(a.answer.Err) != huge {
				t.Fatalf("answer %d arrives as %v", a.id, a.answer.Err)
			}
			if want.Lock == &largest && (len(a.answer.Lock.Holds) != len(largest.Holds) || !maps.Equal(a.answer.Lock.Holds[0].Metadata, h.Metadata)) {
				t.Fatalf("answer %d has %d holds", a.id, len(a.answer.Lock.Holds))
			}
			got++
		}
		acked += len(m.acks)
	}
	t.Logf("the largest frame has %d bytes", size)
	if got != uint64(rounds*len(answers)) || acked != acks {
		t.Errorf("%d answers and %d acknowledgements arrive, want %d and %d", got, acked, rounds*len(answers), acks)
	}
	if size > rules.MaxPeerMessage {
		t.Errorf("a frame has %d bytes, the most is %d", size, rules.MaxPeerMessage)
	}
}

func isTooLarge(err error) bool { return errors.Is(err, sharelock.ErrMessageTooLarge) }
