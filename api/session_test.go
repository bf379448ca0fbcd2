package api

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/frame"
	"github.com/sgkandale/sharelock/internal/sessionwire"
	"github.com/sgkandale/sharelock/internal/virtual"
	pb "github.com/sgkandale/sharelock/proto/sharelock/v1"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
)

// talk is a session of any client, with the generated messages.
type talk struct {
	t *testing.T
	talker
	answers []*pb.SessionAnswer // received, but not asked for yet
}

// talker is the stream of a talk.
type talker interface {
	Send(m *pb.SessionRequest) error
	Recv() (*pb.SessionResponse, error)
	CloseSend() error
}

// plain reports whether the session does not use gRPC.
func (k *talk) plain() bool {
	_, plain := k.talker.(*plainTalk)
	return plain
}

// open opens a session.
type open func(t *testing.T, c *dialed, ctx context.Context) *talk

// bothWays runs a test with sessions over gRPC, and with sessions without gRPC.
func bothWays(t *testing.T, test func(t *testing.T, open open)) {
	t.Run("gRPC", func(t *testing.T) { test(t, openSession) })
	t.Run("plain", func(t *testing.T) { test(t, openPlain) })
}

func openSession(t *testing.T, c *dialed, ctx context.Context) *talk {
	t.Helper()
	s, err := c.locks.Session(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return &talk{t: t, talker: s}
}

// plainTalk is a session without gRPC.
type plainTalk struct {
	*frame.Conn
	conn net.Conn
}

func openPlain(t *testing.T, c *dialed, ctx context.Context) *talk {
	t.Helper()
	conn, err := c.listener.DialContext(ctx)
	if err != nil {
		t.Fatal(err)
	}
	context.AfterFunc(ctx, func() { _ = conn.Close() })
	if _, err := conn.Write(sessionwire.AppendHello(nil)); err != nil {
		t.Fatal(err)
	}
	if err := sessionwire.ReadWelcome(conn); err != nil {
		t.Fatal(err)
	}
	return &talk{t: t, talker: &plainTalk{frame.New(conn, sessionwire.MaxSessionFrame, time.Hour), conn}}
}

func (p *plainTalk) Send(m *pb.SessionRequest) error {
	b, err := proto.Marshal(m)
	if err != nil {
		return err
	}
	return p.Conn.Send(b)
}

func (p *plainTalk) Recv() (*pb.SessionResponse, error) {
	b, err := p.Conn.Recv()
	if err != nil {
		return nil, err
	}
	m := new(pb.SessionResponse)
	if err := proto.Unmarshal(b, m); err != nil || m.GetClosing() == nil {
		return m, err
	}
	return nil, closingError(m)
}

// closingError returns why a node ends a session, as gRPC would return it.
func closingError(m *pb.SessionResponse) error {
	var why spb.Status
	if err := proto.Unmarshal(m.GetClosing(), &why); err != nil {
		return err
	}
	return status.ErrorProto(&why)
}

func (p *plainTalk) CloseSend() error { return p.Close() }

func (k *talk) send(calls ...*pb.SessionCall) {
	k.t.Helper()
	if err := k.Send(&pb.SessionRequest{Calls: calls}); err != nil {
		k.t.Fatal(err)
	}
}

// answer returns the next answer, and the error of its status.
func (k *talk) answer() (*pb.SessionAnswer, error) {
	k.t.Helper()
	for len(k.answers) == 0 {
		m, err := k.Recv()
		if err != nil {
			k.t.Fatal(err)
		}
		k.answers = m.GetAnswers()
	}
	a := k.answers[0]
	k.answers = k.answers[1:]
	if a.GetStatus() == nil {
		return a, nil
	}
	var p spb.Status
	if err := proto.Unmarshal(a.GetStatus(), &p); err != nil {
		k.t.Fatal(err)
	}
	return a, pb.FromError(status.ErrorProto(&p))
}

func acquireCall(id uint64, key string, wait time.Duration) *pb.SessionCall {
	return &pb.SessionCall{Id: id, Call: &pb.SessionCall_Acquire{Acquire: &pb.AcquireRequest{
		Key: key, ClientId: "w1", RequestId: "r", Ttl: durationpb.New(10 * time.Second), Wait: durationpb.New(wait),
	}}}
}

func TestSession(t *testing.T) { bothWays(t, testSession) }

func testSession(t *testing.T, open open) {
	c := dialFake(t, newFake(), Options{})
	k := open(t, c, t.Context())

	k.send(acquireCall(7, "k", 0))
	a, err := k.answer()
	token := uint64(sharelock.MakeToken(59712345, 1))
	wantProto(t, a, &pb.SessionAnswer{Id: 7, Hold: &pb.Hold{
		Token: token, Ttl: durationpb.New(10 * time.Second), ExpiresIn: durationpb.New(9998 * time.Millisecond),
		SafeFor: durationpb.New(10004 * time.Millisecond), Node: "a",
	}}, err)

	// The errors are the same as those of unary calls, each in the answer of its call.
	k.send(acquireCall(8, "k", 0), &pb.SessionCall{Id: 9, Call: &pb.SessionCall_Renew{Renew: &pb.RenewRequest{Key: "k", Token: token + 1}}})
	got := map[uint64]error{}
	for range 2 {
		a, err := k.answer()
		got[a.GetId()] = err
	}
	if held, ok := errors.AsType[*sharelock.Error](got[8]); !ok || !errors.Is(got[8], sharelock.ErrLockHeld) || len(held.Holds) != 1 {
		t.Errorf("try of a held key: %v", got[8])
	}
	if !errors.Is(got[9], sharelock.ErrStaleToken) {
		t.Errorf("renewal of no grant: %v", got[9])
	}

	k.send(&pb.SessionCall{Id: 7, Call: &pb.SessionCall_Release{Release: &pb.ReleaseRequest{Key: "k", Token: token, SentOnce: true}}})
	if a, err := k.answer(); err != nil || a.GetId() != 7 || a.GetHold().GetToken() != token {
		t.Errorf("release: %v, %v", a, err)
	}
	k.send(&pb.SessionCall{Id: 1})
	if _, err := k.answer(); !errors.Is(err, sharelock.ErrInvalidArgument) {
		t.Errorf("a call that asks for nothing: %v", err)
	}
	if err := k.CloseSend(); err != nil {
		t.Fatal(err)
	}
	want := io.EOF
	if k.plain() {
		want = io.ErrClosedPipe // by the client itself
	}
	if _, err := k.Recv(); !errors.Is(err, want) {
		t.Errorf("after the client's end: %v", err)
	}
}

func TestSessionClientID(t *testing.T) {
	node := newFake()
	c := dialFake(t, node, Options{})
	k := openSession(t, c, metadata.AppendToOutgoingContext(t.Context(), "x-client-id", "from-metadata"))
	call := acquireCall(1, "k", 0)
	call.GetAcquire().ClientId = ""
	k.send(call)
	if _, err := k.answer(); err != nil {
		t.Fatal(err)
	}
	node.set(func(n *fakeNode) {
		if n.last.ClientID != "from-metadata" {
			t.Errorf("client id %q", n.last.ClientID)
		}
	})
}

// A waiter that is cancelled is answered. A waiter whose stream ends is given up.
func TestSessionCancel(t *testing.T) { bothWays(t, testSessionCancel) }

func testSessionCancel(t *testing.T, open open) {
	node := newFake()
	c := dialFake(t, node, Options{})
	ctx, cancel := context.WithCancel(t.Context())
	k := open(t, c, ctx)
	k.send(acquireCall(1, "k", 0))
	if a, err := k.answer(); err != nil || a.GetId() != 1 {
		t.Fatalf("%v, %v", a, err)
	}
	k.send(acquireCall(2, "k", time.Minute))
	<-node.waits
	k.send(&pb.SessionCall{Id: 2, Call: &pb.SessionCall_Cancel{Cancel: &pb.SessionCancel{}}})
	if a, err := k.answer(); a.GetId() != 2 || !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v, %v", a, err)
	}
	<-node.ends
	k.send(acquireCall(3, "k", time.Minute))
	<-node.waits
	cancel()
	if err := <-node.ends; !errors.Is(err, context.Canceled) {
		t.Errorf("the waiter of a stream that ended: %v", err)
	}
}

// A message that cannot be decoded ends its stream, and nothing else.
func TestSessionMalformed(t *testing.T) {
	c := dialFake(t, newFake(), Options{})
	s, err := c.locks.Session(t.Context(), grpc.ForceCodecV2(sessionwire.RawCodec{}))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.SendMsg(&sessionwire.Frame{Data: []byte{10, 200}}); err != nil {
		t.Fatal(err)
	}
	if err := s.RecvMsg(&sessionwire.Frame{}); status.Code(err) != codes.InvalidArgument {
		t.Errorf("after a malformed message: %v", err)
	}
	k := openSession(t, c, t.Context())
	k.send(acquireCall(1, "k", 0))
	if _, err := k.answer(); err != nil {
		t.Error(err)
	}
}

// Attached holds are renewed with every keepalive until they are detached or end. A keepalive is answered
// at once.
func TestSessionKeeps(t *testing.T) { bothWays(t, testSessionKeeps) }

func testSessionKeeps(t *testing.T, open open) {
	c := dialFake(t, newFake(), Options{})
	k := open(t, c, t.Context())
	k.send(acquireCall(1, "k", 0))
	a, err := k.answer()
	if err != nil {
		t.Fatal(err)
	}
	hold := func(id, token uint64) *pb.SessionHold {
		return &pb.SessionHold{Id: id, Key: "k", Token: token, Ttl: durationpb.New(10 * time.Second)}
	}
	token := a.GetHold().GetToken()
	type turn struct {
		send    *pb.SessionRequest
		renewed []uint64
		ended   map[uint64]error
	}
	for _, tt := range []turn{
		{&pb.SessionRequest{Keepalive: 1, Attach: []*pb.SessionHold{hold(5, token), hold(6, token+1), hold(7, 0)}}, []uint64{5}, map[uint64]error{6: sharelock.ErrStaleToken, 7: sharelock.ErrInvalidArgument}},
		{&pb.SessionRequest{Keepalive: 2}, []uint64{5}, nil},
		{&pb.SessionRequest{Keepalive: 3, Detach: []uint64{5}}, nil, nil},
	} {
		if err := k.Send(tt.send); err != nil {
			t.Fatal(err)
		}
		var renewed []uint64
		ended := map[uint64]error{}
		for pong := false; !pong || len(renewed) < len(tt.renewed) || len(ended) < len(tt.ended); {
			m, err := k.Recv()
			if err != nil {
				t.Fatal(err)
			}
			// The answer is a renewal or a pong.
			pong = true
			for _, r := range m.GetRenewed() {
				renewed = append(renewed, r.GetIds()...)
				if r.GetKeepalive() != tt.send.GetKeepalive() {
					t.Errorf("renewed as of keepalive %d, want %d", r.GetKeepalive(), tt.send.GetKeepalive())
				}
			}
			for _, e := range m.GetEnded() {
				var p spb.Status
				if err := proto.Unmarshal(e.GetStatus(), &p); err != nil {
					t.Fatal(err)
				}
				ended[e.GetId()] = pb.FromError(status.ErrorProto(&p))
			}
		}
		if !slices.Equal(renewed, tt.renewed) || len(ended) != len(tt.ended) {
			t.Errorf("renewed %v, ended %v, want %v, %v", renewed, ended, tt.renewed, tt.ended)
		}
		for id, want := range tt.ended {
			if !errors.Is(ended[id], want) {
				t.Errorf("%d ended with %v, want %v", id, ended[id], want)
			}
		}
	}

	// Only a client that asks for it has its holds released at the end of the session.
	if err := k.Send(&pb.SessionRequest{Close: true, Attach: []*pb.SessionHold{hold(8, token)}}); err != nil {
		t.Fatal(err)
	}
	for err = nil; err == nil; {
		_, err = k.Recv()
	}
	if !errors.Is(err, io.EOF) {
		t.Errorf("the session ended with %v", err)
	}
	k = open(t, c, t.Context())
	k.send(acquireCall(2, "k", 0))
	if _, err := k.answer(); err != nil {
		t.Errorf("the key is held: %v", err)
	}
}

func TestSessionPong(t *testing.T) { bothWays(t, testSessionPong) }

func testSessionPong(t *testing.T, open open) {
	c := dialFake(t, newFake(), Options{})
	k := open(t, c, t.Context())
	if err := k.Send(&pb.SessionRequest{Ping: true}); err != nil {
		t.Fatal(err)
	}
	if m, err := k.Recv(); err != nil || !m.GetPong() {
		t.Errorf("%v, %v", m, err)
	}
}

// While the server drains, calls in flight are finished and new calls are refused; then the stream
// ends.
func TestSessionDrains(t *testing.T) { bothWays(t, testSessionDrains) }

func testSessionDrains(t *testing.T, open open) {
	virtual.Test(t, func(t *testing.T) {
		node := newFake()
		c := dialFake(t, node, Options{})
		k := open(t, c, t.Context())
		k.send(acquireCall(1, "k", 0))
		a, err := k.answer()
		if err != nil {
			t.Fatal(err)
		}
		k.send(acquireCall(2, "k", time.Minute))
		<-node.waits
		shut := make(chan error, 1)
		go func() { shut <- c.server.Shutdown(t.Context()) }()
		synctest.Wait()
		k.send(acquireCall(3, "other", 0))
		if a, err := k.answer(); a.GetId() != 3 || !errors.Is(err, sharelock.ErrNotReady) {
			t.Errorf("a new call: %v, %v", a, err)
		}
		if _, err := node.Release(t.Context(), "k", sharelock.Token(a.GetHold().GetToken()), false); err != nil {
			t.Fatal(err)
		}
		if a, err := k.answer(); a.GetId() != 2 || err != nil {
			t.Errorf("the call under way: %v, %v", a, err)
		}
		if _, err := k.Recv(); status.Code(err) != codes.Unavailable {
			t.Errorf("the stream ended with %v", err)
		}
		if err := <-shut; err != nil {
			t.Errorf("Shutdown: %v", err)
		}
	})
}

// The node stops reading from a client that sends calls and does not read the answers.
func TestSessionUnread(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		node := newFake()
		c := dialFake(t, node, Options{})
		s, err := c.locks.Session(t.Context(), grpc.ForceCodecV2(sessionwire.RawCodec{}))
		if err != nil {
			t.Fatal(err)
		}
		var sent int
		stuck := make(chan struct{})
		go func() {
			defer close(stuck)
			// Every answer names the wrong token in a few hundred bytes.
			var batch []byte
			for id := range uint64(1000) {
				batch = sessionwire.AppendCall(batch, &sessionwire.Call{ID: id, Kind: sessionwire.CallRelease, AcquireRequest: sharelock.AcquireRequest{Key: "k"}, Token: 1})
			}
			for s.SendMsg(&sessionwire.Frame{Data: batch}) == nil {
				sent++
			}
		}()
		synctest.Wait() // until nothing moves any more
		if sent > 500 {
			t.Errorf("%d messages were taken from a client that does not read", sent)
		}
		c.server.Stop()
		<-stuck
	})
}

// refusing is a session that refuses every hold.
type refusing struct {
	Session
	to *session
}

func (r refusing) Keep(list []sessionwire.Keep) {
	for _, k := range list {
		r.to.Ended(k.ID, errBusy)
	}
}

// A refusal is a hundred times as long as what it refuses, so a single message could cause many bytes of
// answers. The node reads the message only as fast as the client reads the answers.
func TestSessionManyRefusals(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		s := &session{wake: make(chan struct{}, 1), room: make(chan struct{}, 1)}
		s.calls = refusing{to: s}
		var data []byte
		for id := range uint64(100_000) {
			data = sessionwire.AppendKeep(data, &sessionwire.Keep{Kind: sessionwire.KeepAttach, ID: id, Key: "k", Token: 1, TTL: time.Second})
		}
		done := make(chan error, 1)
		go func() {
			_, err := s.keep(ctx, &keeps{}, data)
			done <- err
		}()
		synctest.Wait()
		s.mu.Lock()
		if len(s.out) > 2*maxUnsent {
			t.Errorf("%d bytes wait for a client that does not read, of a message of %d", len(s.out), len(data))
		}
		s.mu.Unlock()
		cancel()
		if err := <-done; err == nil {
			t.Error("the message was read to its end")
		}
	})
}

func TestGetRing(t *testing.T) {
	node := newFake()
	c := dialFake(t, node, Options{})
	got, err := c.mesh.GetRing(t.Context(), &pb.GetRingRequest{})
	wantProto(t, got, &pb.GetRingResponse{
		Epoch: 59712345, Partitions: 4, Owners: []uint32{0, 1, 1, 0},
		Members: []*pb.RingMember{{Name: "a", Grpc: "10.0.0.1:50052"}, {Name: "b", Grpc: "10.0.0.2:50052"}},
	}, err)
}
