package link

import (
	"bytes"
	"errors"
	"reflect"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/protofield"
	"github.com/sgkandale/sharelock/internal/tracecontext"
	"github.com/sgkandale/sharelock/owner"
	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
)

// generated takes a message through the generated code, which must understand what is
// written by hand and writes what must be understood by hand.
func generated[M proto.Message](t rapid.TB, data []byte, m M) []byte {
	t.Helper()
	if err := proto.Unmarshal(data, m); err != nil {
		t.Fatal(err)
	}
	again, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return again
}

func drawMetadata(t *rapid.T) map[string]string {
	m := rapid.MapOfN(rapid.String(), rapid.String(), 0, 3).Draw(t, "metadata")
	if len(m) == 0 {
		return nil
	}
	return m
}

func drawTrace(t *rapid.T) *tracecontext.Parent {
	return tracecontext.Read(rapid.SliceOfN(rapid.Byte(), 0, tracecontext.Size).Draw(t, "trace"))
}

func drawHold(t *rapid.T, key, node string) sharelock.Hold {
	return sharelock.Hold{
		Key: key, Node: node, Token: sharelock.Token(rapid.Uint64().Draw(t, "token")),
		ClientID: rapid.String().Draw(t, "client"), RequestID: rapid.String().Draw(t, "request"),
		Mode:  sharelock.Mode(rapid.Uint8Range(0, 1).Draw(t, "mode")),
		Slots: rapid.Uint32().Draw(t, "slots"), TTL: time.Duration(rapid.Int64().Draw(t, "ttl")),
		Principal: rapid.String().Draw(t, "principal"),
		ExpiresIn: time.Duration(rapid.Int64().Draw(t, "expires")), Metadata: drawMetadata(t),
		MaxHold: time.Duration(rapid.Int64().Draw(t, "max hold")), EndsIn: time.Duration(rapid.Int64().Draw(t, "ends")),
	}
}

// What a node asks arrives at the owner as it was asked.
func TestLinkWireCalls(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var want []forward
		var frame []byte
		for range rapid.IntRange(1, 3).Draw(t, "calls") {
			want = append(want, forward{id: rapid.Uint64().Draw(t, "id"), epoch: rapid.Uint32().Draw(t, "epoch"), req: &owner.Request{
				Kind: owner.Kind(rapid.Uint8Range(1, 10).Draw(t, "kind")), Key: rapid.String().Draw(t, "key"),
				ClientID: rapid.String().Draw(t, "client"), RequestID: rapid.String().Draw(t, "request"),
				Token: sharelock.Token(rapid.Uint64().Draw(t, "token")), TTL: time.Duration(rapid.Int64().Draw(t, "ttl")),
				Wait: time.Duration(rapid.Int64().Draw(t, "wait")), Mode: sharelock.Mode(rapid.Uint8Range(0, 1).Draw(t, "mode")),
				Slots: rapid.Uint32().Draw(t, "slots"), Metadata: drawMetadata(t), Send: rapid.Uint32().Draw(t, "send"),
				OwnID: rapid.Bool().Draw(t, "own"), SentOnce: rapid.Bool().Draw(t, "once"), Drop: rapid.Bool().Draw(t, "drop"),
				Reason: rapid.String().Draw(t, "reason"), Conn: rapid.Uint32().Draw(t, "conn"),
				MaxHold: time.Duration(rapid.Int64().Draw(t, "max hold")), Tell: rapid.Bool().Draw(t, "tell"),
				Principal: rapid.String().Draw(t, "principal"), AnyHold: rapid.Bool().Draw(t, "any hold"),
				Trace: drawTrace(t),
			}})
			if r := want[len(want)-1].req; r.Kind == owner.Renew && r.Metadata == nil && rapid.Bool().Draw(t, "cleared") {
				r.Metadata = map[string]string{}
			}
			for range rapid.IntRange(0, 3).Draw(t, "renewals") {
				r := want[len(want)-1].req
				r.Renewals = append(r.Renewals, &owner.Renewal{
					Key: rapid.String().Draw(t, "renewed"), Token: sharelock.Token(rapid.Uint64().Draw(t, "its token")),
					TTL: time.Duration(rapid.Int64().Draw(t, "its ttl")), Principal: rapid.SampledFrom([]string{"", "p", "q"}).Draw(t, "its principal"),
				})
			}
			sent := want[len(want)-1]
			sent.principals, sent.traces = true, true
			frame = appendForward(frame, &sent)
		}
		var m requestFrame
		for _, data := range [][]byte{frame, generated(t, frame, &peerv1.LinkRequest{})} {
			if err := m.read(data); err != nil || !reflect.DeepEqual(m.forwards, want) || m.ping || m.entries != nil {
				t.Errorf("arrived as %+v (%v), want %+v", m.forwards, err, want)
			}
		}
	})
}

// W1: in views that have no traces none are sent. What is no trace is ignored.
func TestTracesNeedTheRelease(t *testing.T) {
	req := owner.Request{Kind: owner.Get, Key: "k", Trace: &tracecontext.Parent{Flags: 1, Trace: [16]byte{1}, Span: [8]byte{2}}}
	for _, traces := range []bool{false, true} {
		var m requestFrame
		if err := m.read(appendForward(nil, &forward{req: &req, traces: traces})); err != nil {
			t.Fatal(err)
		}
		if got := m.forwards[0].req.Trace; (got != nil) != traces || traces && *got != *req.Trace {
			t.Errorf("with traces %t, a trace arrives as %v", traces, got)
		}
	}
	long := &peerv1.Entries{Partition: 1}
	for range 2 * owner.MaxEntryTraces {
		long.Traces = append(long.Traces, req.Trace.Append(nil), []byte("none"))
	}
	frame, err := proto.Marshal(&peerv1.LinkRequest{Calls: []*peerv1.Call{{Key: "k", Trace: []byte("none")}}, Entries: []*peerv1.Entries{long}})
	if err != nil {
		t.Fatal(err)
	}
	var m requestFrame
	if err := m.read(frame); err != nil || m.forwards[0].req.Trace != nil || len(m.entries[0].Traces) != owner.MaxEntryTraces {
		t.Errorf("arrived as %+v: %v", m, err)
	}
}

// W1: in views that have no principals none are sent.
func TestPrincipalsNeedTheRelease(t *testing.T) {
	req := owner.Request{
		Kind: owner.RenewMany, Key: "k", TTL: 1, Principal: "p", AnyHold: true,
		Renewals: []*owner.Renewal{{Key: "k", Token: 1, TTL: 1, Principal: "p"}, {Key: "k", Token: 2, TTL: 1}},
	}
	for _, principals := range []bool{false, true} {
		var m requestFrame
		if err := m.read(appendForward(nil, &forward{req: &req, principals: principals})); err != nil {
			t.Fatal(err)
		}
		got := m.forwards[0].req
		if (got.Principal == "p") != principals || got.AnyHold != principals || (got.Renewals[0].Principal == "p") != principals || len(got.Renewals) != 2 {
			t.Errorf("with principals %t, a request arrives as %+v", principals, got)
		}
	}
	// Principals of some renewals alone are refused: whose the others are is not known.
	var m requestFrame
	frame, err := proto.Marshal(&peerv1.LinkRequest{Calls: []*peerv1.Call{{Keys: []string{"k", "l"}, Tokens: []uint64{1, 2}, TtlsNs: []int64{1, 1}, Principals: []string{"p"}}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := m.read(frame); !errors.Is(err, protofield.ErrMalformed) {
		t.Errorf("two renewals with one principal: %v", err)
	}
}

// An owner's operations, and a ping, arrive at the backup as they were sent.
func TestLinkWireEntries(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		epoch := rapid.Uint32().Draw(t, "epoch")
		var want []owner.Entries
		for range rapid.IntRange(1, 3).Draw(t, "entries") {
			want = append(want, owner.Entries{
				Partition: rapid.Uint32().Draw(t, "partition"), First: rapid.Uint64().Draw(t, "first"),
				Ops: rapid.SliceOfN(rapid.Byte(), 1, 300).Draw(t, "ops"),
			})
			for range rapid.IntRange(0, 2).Draw(t, "traces") {
				if p := drawTrace(t); p != nil {
					e := &want[len(want)-1]
					e.Traces = append(e.Traces, *p)
				}
			}
		}
		frame := appendPing(appendEntries(nil, epoch, want))
		var m requestFrame
		for _, data := range [][]byte{frame, generated(t, frame, &peerv1.LinkRequest{})} {
			if err := m.read(data); err != nil || m.epoch != epoch || !reflect.DeepEqual(m.entries, want) || !m.ping {
				t.Errorf("arrived as %+v (%v), want %+v", m, err, want)
			}
		}
	})
}

// A backup's acknowledgements, and a pong, arrive at the owner as they were sent.
func TestLinkWireAcks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		epoch := rapid.Uint32().Draw(t, "epoch")
		var want []owner.Ack
		for range rapid.IntRange(1, 3).Draw(t, "acks") {
			want = append(want, owner.Ack{
				Partition: rapid.Uint32().Draw(t, "partition"), Seq: rapid.Uint64().Draw(t, "seq"), Gap: rapid.Bool().Draw(t, "gap"),
			})
		}
		frame := appendPing(appendAcks(nil, epoch, want))
		var m responseFrame
		for _, data := range [][]byte{frame, generated(t, frame, &peerv1.LinkResponse{})} {
			if err := m.read(data, "b"); err != nil || m.epoch != epoch || !reflect.DeepEqual(m.acks, want) || !m.pong {
				t.Errorf("arrived as %+v (%v), want %+v", m, err, want)
			}
		}
	})
}

// answerOverTheWire sends an answer of the member b, also through the generated code.
func answerOverTheWire(t rapid.TB, a *owner.Answer) owner.Answer {
	t.Helper()
	frame := appendReply(nil, 7, 8, a)
	var direct, m responseFrame
	for _, arrived := range []struct {
		m    *responseFrame
		data []byte
	}{{&direct, frame}, {&m, generated(t, frame, &peerv1.LinkResponse{})}} {
		if err := arrived.m.read(arrived.data, "b"); err != nil || len(arrived.m.replies) != 1 || arrived.m.replies[0].id != 7 {
			t.Fatalf("arrived as %+v: %v", arrived.m, err)
		}
	}
	if !reflect.DeepEqual(direct.replies, m.replies) {
		t.Fatalf("read as %+v, from the generated code as %+v", direct.replies, m.replies)
	}
	return m.replies[0].answer
}

// What the owner answers arrives at the node as it was answered, errors with
// their sentinel and details.
func TestLinkWireAnswers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := owner.Answer{
			Outcome: owner.Outcome(rapid.Uint8Range(1, 3).Draw(t, "outcome")), Send: rapid.Uint32().Draw(t, "send"),
			Current: rapid.Bool().Draw(t, "current"), Position: rapid.Uint32().Draw(t, "position"),
		}
		lost, denied := rapid.SliceOfN(rapid.Uint32(), 0, 3).Draw(t, "lost"), rapid.SliceOfN(rapid.Uint32(), 0, 3).Draw(t, "denied")
		if len(lost)+len(denied) > 0 {
			want.Unrenewed = &owner.Unrenewed{}
		}
		if len(lost) > 0 {
			want.Unrenewed.Lost = lost
		}
		if len(denied) > 0 {
			want.Unrenewed.Denied = denied
		}
		for range rapid.IntRange(0, 2).Draw(t, "holds") {
			want.Holds = append(want.Holds, drawHold(t, "k", "b"))
		}
		if rapid.Bool().Draw(t, "lock") {
			want.Lock = &sharelock.KeyState{
				Key: "k", Partition: 3, Owner: "b", Epoch: 9, Holds: want.Holds, Quarantine: time.Second, HoldCount: 4, WaiterCount: 5,
				Waiters: []sharelock.Waiter{{ClientID: "c", RequestID: "r", Principal: "p", Mode: sharelock.Shared, Slots: 2, Waiting: 3, Metadata: drawMetadata(t)}},
			}
		}
		if got := answerOverTheWire(t, &want); !reflect.DeepEqual(got, want) {
			t.Errorf("arrived as %+v, want %+v", got, want)
		}
	})
}

func TestLinkWireErrors(t *testing.T) {
	for _, sentinel := range errorNumbers {
		want := &sharelock.Error{
			Err: sentinel, Message: "why", Field: "key", Queue: 3, RetryAfter: time.Second,
			Holds: []sharelock.Hold{{Key: "k", Token: 5, ClientID: "c", Node: "b"}},
		}
		got := answerOverTheWire(t, &owner.Answer{Outcome: owner.Failed, Err: want})
		if !reflect.DeepEqual(got.Err, error(want)) {
			t.Errorf("%v arrives as %+v", sentinel, got.Err)
		}
	}
	// An error that is not in the table, and a failure without one, are ours.
	if got := answerOverTheWire(t, &owner.Answer{Outcome: owner.Failed, Err: errors.New("strange")}); !errors.Is(got.Err, sharelock.ErrInternal) {
		t.Errorf("a strange error arrives as %v, want an internal error", got.Err)
	}
	for _, a := range []*peerv1.Answer{{Outcome: uint32(owner.Failed)}, {Outcome: uint32(owner.Failed), Error: 1 << 31}} {
		data, err := proto.Marshal(&peerv1.LinkResponse{Answers: []*peerv1.Answer{a}})
		if err != nil {
			t.Fatal(err)
		}
		var m responseFrame
		if err := m.read(data, "b"); err != nil || !errors.Is(m.replies[0].answer.Err, sharelock.ErrInternal) {
			t.Errorf("%v arrives as %+v (%v), want an internal error", a, m.replies, err)
		}
	}
}

// FuzzLinkRequest: whatever a frame has in it, nothing panics, and what the generated
// code understands is understood.
func FuzzLinkRequest(f *testing.F) {
	call := forward{id: 1, epoch: 2, principals: true, req: &owner.Request{Kind: owner.Acquire, Key: "k", ClientID: "c", RequestID: "r", Metadata: map[string]string{"a": "b"}, Principal: "p"}}
	f.Add(appendForward(nil, &call))
	f.Add(appendPing(appendEntries(nil, 3, []owner.Entries{{Partition: 1, First: 2, Ops: []byte("ops")}})))
	halves := protofield.AppendString(protofield.AppendString(protofield.AppendString(nil, 16, "a"), 16, "b"), 22, "p")
	f.Add(protowire.AppendBytes(protowire.AppendTag(nil, fieldCalls, protowire.BytesType), halves))
	f.Add(protofield.AppendUint(nil, fieldEpoch, 1<<32+7))
	f.Fuzz(func(t *testing.T, data []byte) {
		var m requestFrame
		err := m.read(data)
		var p peerv1.LinkRequest
		if proto.Unmarshal(data, &p) != nil {
			return
		}
		if err != nil {
			for _, c := range p.GetCalls() {
				if n := len(c.GetPrincipals()); n > 0 && n != len(c.GetKeys()) {
					return // it is not known whose the others are
				}
			}
			t.Fatalf("not understood: %v", err)
		}
		if len(m.forwards) != len(p.GetCalls()) || len(m.entries) != len(p.GetEntries()) || m.epoch != p.GetEpoch() || m.ping != p.GetPing() {
			t.Fatalf("understood as %+v, want %v", m, &p)
		}
		for i, e := range p.GetEntries() {
			if got := m.entries[i]; got.Partition != e.GetPartition() || got.First != e.GetFirst() || !bytes.Equal(got.Ops, e.GetOps()) {
				t.Fatalf("entries %+v, want %v", got, e)
			}
		}
		for i, c := range p.GetCalls() {
			if got := m.forwards[i]; got.id != c.GetId() || got.req.Key != c.GetKey() || got.req.RequestID != c.GetRequestId() || got.req.Principal != c.GetPrincipal() || uint64(got.req.Token) != c.GetToken() {
				t.Fatalf("call %+v, want %v", got, c)
			}
		}
	})
}

// FuzzLinkResponse is FuzzLinkRequest for the other direction.
func FuzzLinkResponse(f *testing.F) {
	f.Add(appendReply(nil, 1, 2, &owner.Answer{Outcome: owner.Done, Holds: []sharelock.Hold{{Key: "k", Token: 3}}}))
	f.Add(appendReply(nil, 1, 2, &owner.Answer{Outcome: owner.Done, Lock: &sharelock.KeyState{Key: "k"}}))
	f.Add(appendPing(appendAcks(nil, 3, []owner.Ack{{Partition: 1, Seq: 2, Gap: true}})))
	f.Fuzz(func(t *testing.T, data []byte) {
		var m responseFrame
		err := m.read(data, "b")
		var p peerv1.LinkResponse
		if proto.Unmarshal(data, &p) != nil {
			return
		}
		if err != nil {
			t.Fatalf("not understood: %v", err)
		}
		if len(m.replies) != len(p.GetAnswers()) || len(m.acks) != len(p.GetAcks()) || m.epoch != p.GetEpoch() || m.pong != p.GetPong() {
			t.Fatalf("understood as %+v, want %v", m, &p)
		}
		for i, a := range p.GetAcks() {
			if got := m.acks[i]; got.Partition != a.GetPartition() || got.Seq != a.GetSeq() || got.Gap != a.GetGap() {
				t.Fatalf("ack %+v, want %v", got, a)
			}
		}
		for i, a := range p.GetAnswers() {
			if got := m.replies[i]; got.id != a.GetId() || got.answer.Send != a.GetSend() {
				t.Fatalf("answer %+v, want %v", got, a)
			}
		}
	})
}
