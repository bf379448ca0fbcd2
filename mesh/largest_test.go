package mesh

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/ringproto"
	"github.com/sgkandale/sharelock/mesh/view"
	"github.com/sgkandale/sharelock/owner"
	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
	"github.com/sgkandale/sharelock/ring"
)

// The largest of everything that a message between members carries.

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
		RequestID: longest(sharelock.MaxRequestIDBytes), Slots: sharelock.MaxSlots, TTL: 24 * time.Hour, ExpiresIn: 24 * time.Hour,
		Node: longest(64), Metadata: largestMetadata(),
	}
}

// largestMember is the largest that a member may say of itself.
func largestMember(t *testing.T) ring.Member {
	t.Helper()
	m := ring.Member{
		Identity: ring.Identity{ID: longest(64), Counter: 1<<64 - 1, Nonce: 1<<64 - 1}, Name: longest(64),
		Peer: longest(64), Gossip: longest(64), HTTP: longest(64), GRPC: longest(64),
	}
	if err := view.CheckJoiner(m); err != nil {
		t.Fatal(err)
	}
	for what, change := range map[string]func(*ring.Member){
		"id": func(m *ring.Member) { m.ID += "x" }, "name": func(m *ring.Member) { m.Name += "x" },
		"peer": func(m *ring.Member) { m.Peer += "x" }, "gossip": func(m *ring.Member) { m.Gossip += "x" },
		"http": func(m *ring.Member) { m.HTTP += "x" }, "grpc": func(m *ring.Member) { m.GRPC += "x" },
	} {
		larger := m
		if change(&larger); view.CheckJoiner(larger) == nil {
			t.Errorf("a member with a larger %s may join", what)
		}
	}
	m.Leaving = true
	return m
}

func largestState(t *testing.T) view.State {
	m := largestMember(t)
	s := view.State{Cluster: &peerv1.Cluster{
		Id: []byte(longest(maxClusterID)), Name: longest(64), Partitions: ring.MaxPartitions,
		LeaseNs: int64(time.Minute), MaxTtlNs: int64(24 * time.Hour), Replicas: view.MaxVoters,
	}}
	for range ring.MaxHistory {
		s.History.Views = append(s.History.Views, ring.View{
			Epoch: 1<<31 - 1, Replicas: view.MaxVoters, Placement: ring.Placement, Members: slices.Repeat([]ring.Member{m}, ring.MaxMembers),
		})
	}
	return s
}

// largestMessages has, for each call of the peer protocol, the largest request and answer.
func largestMessages(t *testing.T) map[string][2]proto.Message {
	t.Helper()
	m := largestMember(t)
	member, id, history := ringproto.EncodeMember(m), ringproto.EncodeIdentity(m.Identity), view.StateToProto(largestState(t))
	cluster, why := []byte(longest(maxClusterID)), longest(4<<10)
	ids := slices.Repeat([]*peerv1.Identity{id}, ring.MaxMembers)
	partitions := slices.Repeat([]uint32{1<<32 - 1}, ring.MaxPartitions)
	held := slices.Repeat([]*peerv1.Held{{Partition: 1<<32 - 1, Have: 1<<32 - 1, Seq: 1<<64 - 1}}, ring.MaxPartitions)
	return map[string][2]proto.Message{
		"Promise": {&peerv1.PromiseRequest{ClusterId: cluster, Founder: id}, &peerv1.PromiseResponse{Promised: true, Why: why}},
		"Probe": {
			&peerv1.ProbeRequest{Release: 1, OldestRelease: 1, Member: member},
			&peerv1.ProbeResponse{Epoch: 1 << 31, ClusterId: cluster, Release: 1, OldestRelease: 1, Undialled: why},
		},
		"Join": {
			&peerv1.JoinRequest{Member: member, Reached: ids, OldestRelease: 1},
			&peerv1.JoinResponse{Outcome: peerv1.JoinResponse_OUTCOME_WAIT, Why: why, Leader: m.Peer, History: history},
		},
		"Decommission": {&peerv1.DecommissionRequest{Name: m.Name}, &peerv1.DecommissionResponse{Why: why, Leader: m.Peer}},
		"Renew": {
			&peerv1.RenewRequest{Member: id, Epoch: 1 << 31, Leaving: true, Done: true, Refresh: true, Complaints: ids, Told: true, Callers: ids},
			&peerv1.RenewResponse{
				Outcome: peerv1.RenewResponse_OUTCOME_REFUSED, Leader: m.Peer, Epoch: 1 << 31, History: history, Notice: why,
				Voters: slices.Repeat([]string{m.ID}, view.MaxVoters), LeaderId: m.ID,
			},
		},
		"Term":    {&peerv1.TermRequest{Voter: m.ID}, &peerv1.TermResponse{Term: 1<<64 - 1, Applied: 1<<64 - 1}},
		"Install": {&peerv1.InstallRequest{History: history}, &peerv1.InstallResponse{Epoch: 1 << 31}},
		"Ask":     {&peerv1.AskRequest{Epoch: 1 << 31, Partitions: partitions}, &peerv1.AskResponse{Epoch: 1 << 31, Held: held}},
		"Active":  {&peerv1.ActiveRequest{Epoch: 1 << 31, Partitions: partitions}, &peerv1.ActiveResponse{Epoch: 1 << 31}},
		"Forced": {
			&peerv1.ForcedRequest{
				Holds: slices.Repeat([]*peerv1.ForcedHold{{
					Key: longest(sharelock.MaxKeyBytes), Token: 1<<63 - 1, ClientId: longest(sharelock.MaxClientIDBytes),
				}}, mostForced),
				Reason: longest(sharelock.MaxReasonBytes),
			},
			&peerv1.ForcedResponse{},
		},
		"Greet":    {&peerv1.GreetRequest{}, &peerv1.GreetResponse{}},
		"TakeOver": {&peerv1.TakeOverRequest{Silent: id, Term: 1<<64 - 1}, &peerv1.TakeOverResponse{}},
		"Relay":    {&peerv1.RelayRequest{Parcel: largestParcel(id)}, &peerv1.RelayResponse{Reply: largestReply(id)}},
		"Collect": {
			&peerv1.CollectRequest{Member: id, Replies: slices.Repeat([]*peerv1.Reply{largestReply(id)}, view.ParcelsAtOnce)},
			&peerv1.CollectResponse{Parcels: slices.Repeat([]*peerv1.Parcel{largestParcel(id)}, view.ParcelsAtOnce)},
		},
		"List": {
			&peerv1.ListRequest{Epoch: 1 << 31, Prefix: longest(sharelock.MaxKeyBytes), ClientId: longest(sharelock.MaxClientIDBytes), After: longest(sharelock.MaxKeyBytes), Limit: 1000},
			largestList(),
		},
	}
}

func largestParcel(id *peerv1.Identity) *peerv1.Parcel {
	return &peerv1.Parcel{
		Id: 1<<64 - 1, From: id, To: id, Epoch: 1 << 31, Method: peerv1.PeerService_Active_FullMethodName, Request: make([]byte, view.MaxParcel),
	}
}

func largestReply(id *peerv1.Identity) *peerv1.Reply {
	return &peerv1.Reply{To: id, Id: 1<<64 - 1, Code: 16, Message: longest(4 << 10), Response: make([]byte, view.MaxParcel)}
}

// What may be relayed fits into a parcel (V6a).
func TestLargestParcels(t *testing.T) {
	partitions := slices.Repeat([]uint32{1<<32 - 1}, askedAtOnce)
	held := &peerv1.Held{Partition: 1<<32 - 1, Have: 1<<32 - 1, Seq: 1<<64 - 1}
	// All data in few pieces, which go on at a key each, and small ones besides.
	position := []byte(longest(64 + sharelock.MaxKeyBytes + sharelock.MaxRequestIDBytes))
	pieces := slices.Repeat([]*peerv1.Piece{{Partition: 1<<32 - 1, Data: make([]byte, owner.MaxBytes/4), Position: position}}, 4)
	pieces = append(pieces, slices.Repeat([]*peerv1.Piece{{Partition: 1<<32 - 1, Last: true}}, owner.MaxBatch-4)...)
	for _, m := range []proto.Message{
		&peerv1.AskRequest{Epoch: 1 << 31, Partitions: partitions},
		&peerv1.AskResponse{Epoch: 1 << 31, Held: slices.Repeat([]*peerv1.Held{held}, askedAtOnce)},
		&peerv1.ActiveRequest{Epoch: 1 << 31, Partitions: partitions},
		&peerv1.FetchRequest{Epoch: 1 << 31, Wants: slices.Repeat([]*peerv1.Want{{Held: held, Position: position}}, owner.MaxBatch)},
		&peerv1.FetchResponse{Epoch: 1 << 31, Pieces: pieces},
	} {
		if size := proto.Size(m); size > view.MaxParcel {
			t.Errorf("%s has %d bytes, the most is %d", m.ProtoReflect().Descriptor().Name(), size, view.MaxParcel)
		}
	}
}

// largestList is an owner's largest part of a list.
func largestList() *peerv1.ListResponse {
	lock := sharelock.KeyState{Key: longest(sharelock.MaxKeyBytes), Owner: longest(64), HoldCount: sharelock.MaxSlots}
	lock.Holds = slices.Repeat([]sharelock.Hold{largestHold()}, 25) // 64 KiB, as TestReadIsBounded of package owner has it
	l := owner.Listing{Locks: slices.Repeat([]sharelock.KeyState{lock}, sharelock.MaxPageSize+1)}
	l.Cut(sharelock.MaxPageSize)
	resp := &peerv1.ListResponse{Epoch: 1 << 31, More: true, Quarantined: ring.MaxPartitions}
	for i := range l.Locks {
		resp.Locks = append(resp.Locks, lockToProto(&l.Locks[i]))
	}
	return resp
}

// No message of the peer protocol is larger than what members accept. The pieces of Fetch
// and Sync have a bound of their own, see package owner.
func TestLargestMessages(t *testing.T) {
	all := largestMessages(t)
	methods := peerv1.File_sharelock_peer_v1_peer_proto.Services().ByName("PeerService").Methods()
	for i := range methods.Len() {
		name := string(methods.Get(i).Name())
		if name == "Fetch" || name == "Sync" {
			continue
		}
		messages, ok := all[name]
		if !ok {
			t.Errorf("nobody knows the largest messages of %s", name)
			continue
		}
		for j, want := range []protoreflect.MessageDescriptor{methods.Get(i).Input(), methods.Get(i).Output()} {
			m := messages[j]
			if got := m.ProtoReflect().Descriptor(); got != want {
				t.Errorf("%s: %s, want %s", name, got.FullName(), want.FullName())
			}
			size := proto.Size(m)
			t.Logf("%s: %d bytes", m.ProtoReflect().Descriptor().Name(), size)
			if size > maxPeerMessage {
				t.Errorf("%s has %d bytes, the most is %d", m.ProtoReflect().Descriptor().Name(), size, maxPeerMessage)
			}
		}
	}
}

// largestRequests are the largest calls that nodes forward.
func largestRequests() []*owner.Request {
	h := largestHold()
	r := owner.Request{
		Key: h.Key, ClientID: h.ClientID, RequestID: h.RequestID, Token: h.Token, TTL: h.TTL, Wait: h.TTL, Slots: h.Slots,
		Metadata: h.Metadata, Send: 1<<32 - 1, OwnID: true, SentOnce: true, Drop: true, Reason: longest(sharelock.MaxReasonBytes),
	}
	var all []*owner.Request
	for kind := owner.Acquire; kind <= owner.RenewMany; kind++ {
		one := r
		one.Kind = kind
		all = append(all, &one)
	}
	many := all[len(all)-1] // as renewals.gather makes it: keys of 16 KiB
	for range owner.MaxRenewalBytes / len(h.Key) {
		many.Renewals = append(many.Renewals, &owner.Renewal{Key: h.Key, Token: h.Token, TTL: h.TTL})
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
	n := linkNode(t, nil)
	l := newLink(n, viewOf("a", "b").Members[1])
	requests := largestRequests()
	const rounds = 1000
	for range rounds {
		for _, r := range requests {
			l.last++
			l.queue = append(l.queue, linkCall{id: l.last, epoch: 1<<32 - 1, req: r})
		}
	}
	e := owner.Entries{Partition: 1<<32 - 1, First: 1<<64 - 1, Ops: make([]byte, 260<<10)}
	l.entries, l.epoch = slices.Repeat([]owner.Entries{e, {Partition: 1, First: 1, Ops: []byte("x")}}, 500), 1<<32-1
	calls, entries, largest := uint64(0), 0, 0
	for frame := l.take(nil); len(frame) > 0; frame = l.take(nil) {
		largest = max(largest, len(frame))
		var m linkRequest
		if err := m.read(frame); err != nil {
			t.Fatal(err)
		}
		for _, c := range m.calls {
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
	if largest > maxPeerMessage {
		t.Errorf("a frame has %d bytes, the most is %d", largest, maxPeerMessage)
	}
}

// A call that does not fit into a frame is answered with an error, and those around it go
// their way.
func TestTooLargeACall(t *testing.T) {
	n := linkNode(t, nil)
	l := newLink(n, viewOf("a", "b").Members[1])
	var heard answersTo
	huge := &owner.Request{Kind: owner.Acquire, Key: "k", Send: 3, Reason: longest(maxCallBytes)}
	for _, r := range []*owner.Request{{Key: "a"}, huge, {Key: "b"}} {
		l.queue = append(l.queue, linkCall{id: l.register(owner.Ref{Caller: &heard, ID: uint64(len(l.queue))}), req: r})
	}
	var m linkRequest
	if err := m.read(l.take(nil)); err != nil || len(m.calls) != 2 || m.calls[0].req.Key != "a" || m.calls[1].req.Key != "b" {
		t.Errorf("the frame has %d calls: %v", len(m.calls), err)
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
	n := linkNode(t, nil)
	c := &linkCaller{node: n, wake: make(chan struct{}, 1)}
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
		{Outcome: owner.Done, Lost: slices.Repeat([]uint32{owner.MaxRenewals}, owner.MaxRenewals)},
	}
	const rounds = 4
	for i := range uint64(rounds * len(answers)) {
		a := answers[i%uint64(len(answers))]
		a.Send = uint32(i)
		c.Answer(i, a)
	}
	const acks = 1 << 20
	for i := range uint64(acks) {
		c.ack(1<<32-1, owner.Ack{Partition: 1<<32 - 1, Seq: 1<<64 - 1 - i, Gap: true})
	}
	size, got, acked := 0, uint64(0), 0
	for frame := c.take(nil); len(frame) > 0; frame = c.take(nil) {
		size = max(size, len(frame))
		var m linkResponse
		if err := m.read(frame, "b"); err != nil {
			t.Fatal(err)
		}
		for _, a := range m.answers {
			if a.id != got || a.answer.Send != uint32(got) {
				t.Fatalf("answer %d to send %d comes as number %d", a.id, a.answer.Send, got)
			}
			want := answers[got%uint64(len(answers))]
			huge := want.Lock == &broken || want.Err != nil && len(want.Err.(*sharelock.Error).Holds) > 1000
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
	if size > maxPeerMessage {
		t.Errorf("a frame has %d bytes, the most is %d", size, maxPeerMessage)
	}
}

func isTooLarge(err error) bool { return errors.Is(err, sharelock.ErrMessageTooLarge) }
