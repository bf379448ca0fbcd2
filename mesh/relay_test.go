package mesh

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/sgkandale/sharelock/internal/ringproto"
	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
	"github.com/sgkandale/sharelock/ring"
)

// A parcel is checked as a call that comes directly: for whom it is, who sends it, and in
// which epoch (A1, V6a).
func TestParcelIsChecked(t *testing.T) {
	alone(t, func(t *testing.T, m *member) {
		m.take("x:1", m.node.clock(), answer(1, viewAt(1, "a", "b")))
		members := viewOf("a", "b").Members
		ask, err := proto.Marshal(&peerv1.AskRequest{Epoch: 1, Partitions: []uint32{0}})
		if err != nil {
			t.Fatal(err)
		}
		good := func() *peerv1.Parcel {
			return &peerv1.Parcel{
				Id: 7, From: ringproto.EncodeIdentity(members[1].Identity), To: ringproto.EncodeIdentity(members[0].Identity),
				Epoch: 1, Method: peerv1.PeerService_Ask_FullMethodName, Request: ask,
			}
		}
		server := &peerServer{node: m.node}
		for name, tt := range map[string]struct {
			change  func(*peerv1.Parcel)
			want    codes.Code
			refused bool
		}{
			"good":                   {func(*peerv1.Parcel) {}, codes.OK, false},
			"for a later start":      {func(p *peerv1.Parcel) { p.To.Counter++ }, codes.FailedPrecondition, true},
			"of an earlier start":    {func(p *peerv1.Parcel) { p.From.Nonce++ }, codes.FailedPrecondition, true},
			"of an older epoch":      {func(p *peerv1.Parcel) { p.Epoch = 0 }, codes.Aborted, false},
			"of a later epoch":       {func(p *peerv1.Parcel) { p.Epoch = 2 }, codes.Aborted, false},
			"of an unknown method":   {func(p *peerv1.Parcel) { p.Method = peerv1.PeerService_Promise_FullMethodName }, codes.Unimplemented, true},
			"that cannot be decoded": {func(p *peerv1.Parcel) { p.Request = []byte{0xff} }, codes.InvalidArgument, true},
		} {
			p := good()
			tt.change(p)
			reply := server.open(t.Context(), p)
			if codes.Code(reply.GetCode()) != tt.want || reply.GetRefused() != tt.refused || reply.GetId() != 7 {
				t.Errorf("a parcel %s: %v, want %v, refused %t", name, reply, tt.want, tt.refused)
			}
		}
	})
}

// A stall is in the status as long as it lasts, and in the log at its beginning, again and
// again, and at its end.
func TestStalls(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, nil))
	v := viewOf("a", "b")
	b := v.Members[1].Identity
	var s stalls
	said := func(what string) int { return strings.Count(out.String(), what) }
	for now := time.Second; now <= 25*time.Second; now += 400 * time.Millisecond {
		s.update(log, v, []ring.Identity{b}, now, time.Second)
	}
	list := s.list(v, 25*time.Second)
	if len(list) != 1 || list[0].Member != "b" || list[0].Waiting != 25*time.Second {
		t.Errorf("stalls are %v, want b for 25 s", list)
	}
	if got := said("without progress"); got != 3 {
		t.Errorf("the log was told %d times in 25 s, want 3:\n%s", got, &out)
	}
	s.update(log, v, nil, 26*time.Second, time.Second)
	if len(s.list(v, 26*time.Second)) != 0 || said("no more") != 1 {
		t.Errorf("a stall that is over is shown still:\n%s", &out)
	}
}

// Of the calls that went through only the last of each process counts, and the oldest is
// forgotten when there are too many.
func TestCalls(t *testing.T) {
	var c calls
	c.note("a", 5)
	if !c.since("a", 5) || c.since("a", 6) || c.since("b", 0) {
		t.Error("a call at 5 counts otherwise")
	}
	for i := range 2 * maxCalls {
		c.note(strings.Repeat("x", i), time.Duration(10+i))
	}
	if len(c.at) > maxCalls {
		t.Errorf("%d processes are remembered, the most is %d", len(c.at), maxCalls)
	}
	if c.since("a", 0) {
		t.Error("the oldest was not forgotten")
	}
}
