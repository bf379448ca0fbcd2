package session

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/client/internal/dial"
	"github.com/sgkandale/sharelock/client/internal/fakenode"
	"github.com/sgkandale/sharelock/client/internal/secure"
	"github.com/sgkandale/sharelock/internal/clienthook"
	"github.com/sgkandale/sharelock/internal/sessionwire"
	"github.com/sgkandale/sharelock/internal/virtual"
)

const connectTime = 2 * time.Second

// noKeeper is told of locks in vain.
type noKeeper struct{}

// News implements Keeper.
func (noKeeper) News([]News) {}

// Broke implements Keeper.
func (noKeeper) Broke(iter.Seq2[Attachment, Lock], error) {}

// connect returns a gRPC connection whose streams dial opens.
func connect(t *testing.T, dial func(ctx context.Context, addr string) (net.Conn, error)) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///a:1", grpc.WithContextDialer(dial), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	})
	return conn
}

// start returns a session with a node.
func start(t *testing.T, f *fakenode.Node, change ...func(c *Config)) *Session {
	t.Helper()
	begin := time.Now()
	c := Config{
		Addr: "a:1", TLS: secure.NewTransport(nil, nil, nil), ConnectTime: connectTime, Keeper: noKeeper{},
		Handshake: func() *secure.Error { return nil },
		Now:       func() time.Duration { return time.Since(begin) },
		Beat:      func(time.Duration) {},
		Debug:     func(string, ...any) {},
		Unary: func(context.Context, bool, *sessionwire.Call) (sharelock.Hold, error) {
			t.Error("a unary call")
			return sharelock.Hold{}, errors.New("a unary call")
		},
	}
	if f != nil {
		c.Dialer, c.Conn = dial.New(f.Dial), connect(t, f.Dial)
	}
	for _, do := range change {
		do(&c)
	}
	s := New(c)
	t.Cleanup(s.Close)
	return s
}

// acquire makes one acquire.
func acquire(ctx context.Context, s *Session, wait time.Duration) error {
	_, _, err := s.Do(ctx, true, &sessionwire.Call{
		Kind: sessionwire.CallAcquire, AcquireRequest: sharelock.AcquireRequest{Key: "k", Wait: wait},
	})
	return err
}

func mustAcquire(t *testing.T, s *Session) {
	t.Helper()
	if err := acquire(t.Context(), s, 0); err != nil {
		t.Fatal(err)
	}
}

// wantCode fails the test unless err is a gRPC status with this code.
func wantCode(t *testing.T, err error, code codes.Code) {
	t.Helper()
	if status.Code(err) != code {
		t.Fatalf("got %v, want %v", err, code)
	}
}

// The session of a node that understands it goes without gRPC, and is opened by the first call.
func TestPlainStream(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		f := &fakenode.Node{}
		s := start(t, f)
		if n := f.Dials.Load(); n != 0 || !s.Idle() || s.IsThere() {
			t.Errorf("%d connections before the first call; idle %t, there %t", n, s.Idle(), s.IsThere())
		}
		for range 3 {
			mustAcquire(t, s)
		}
		if f.Dials.Load() != 1 || f.Plain.Load() != 1 || !s.Idle() || !s.IsThere() {
			t.Errorf("%d connections, %d of them plain; idle %t, there %t", f.Dials.Load(), f.Plain.Load(), s.Idle(), s.IsThere())
		}
		s.Reset()
		synctest.Wait()
		mustAcquire(t, s)
		if n := f.Plain.Load(); n != 2 {
			t.Errorf("%d streams, want 2", n)
		}
	})
}

// Once a session is closed, and for calls that end with the client once it is aborted, nothing is sent.
func TestEnd(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		f := &fakenode.Node{}
		s := start(t, f)
		mustAcquire(t, s)
		s.Abort(false)
		err := acquire(t.Context(), s, 0)
		if wantCode(t, err, codes.Canceled); !Unsent(err) {
			t.Errorf("%v may have been sent", err)
		}
		if _, _, err := s.Do(t.Context(), false, &sessionwire.Call{Kind: sessionwire.CallRelease}); err != nil {
			t.Errorf("a release after the first abort: %v", err)
		}
		s.Abort(true)
		_, _, err = s.Do(t.Context(), false, &sessionwire.Call{Kind: sessionwire.CallRelease})
		wantCode(t, err, codes.Canceled)
		s.Close()
		wantCode(t, acquire(t.Context(), s, 0), codes.Canceled)
	})
}

// Only the first call waits for a node that cannot be reached; it is tried again beside the others, less
// and less often, and used as soon as it is there.
func TestUnreachable(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		var there atomic.Bool
		there.Store(true)
		f := &fakenode.Node{First: func(_ int64, conn net.Conn) bool {
			if !there.Load() {
				_, _ = io.Copy(io.Discard, conn)
			}
			return there.Load()
		}}
		s := start(t, f)
		mustAcquire(t, s)
		there.Store(false)
		s.Reset()
		synctest.Wait()
		begin, tried := time.Now(), f.Plain.Load()
		for n := range 600 {
			before := time.Now()
			err := acquire(t.Context(), s, 0)
			if took := time.Since(before); n > 0 && took > 0 {
				t.Fatalf("call %d took %v", n, took)
			}
			if wantCode(t, err, codes.Unavailable); !Unsent(err) {
				t.Fatalf("call %d may have been sent: %v", n, err)
			}
			time.Sleep(100 * time.Millisecond)
		}
		if n := f.Plain.Load() - tried; n < 15 || n > 30 {
			t.Errorf("%d streams were tried in %v", n, time.Since(begin))
		}
		there.Store(true)
		time.Sleep(connectTime + longestTry)
		_ = acquire(t.Context(), s, 0) // has it tried
		synctest.Wait()
		mustAcquire(t, s)

		// What was found out long ago counts no more.
		there.Store(false)
		s.Reset()
		synctest.Wait()
		wantCode(t, acquire(t.Context(), s, 0), codes.Unavailable)
		there.Store(true)
		time.Sleep(longestTry + staleTry)
		mustAcquire(t, s)
	})
}

// A session says something while its calls are in flight, and from time to time when none are; so a node
// that hangs is noticed either way.
func TestPings(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		f := &fakenode.Node{}
		s := start(t, f)
		mustAcquire(t, s)
		st := s.cur.Load()
		since := func(d time.Duration, least, most int64) {
			t.Helper()
			before := f.Pings.Load()
			time.Sleep(d)
			if n := f.Pings.Load() - before; n < least || n > most {
				t.Errorf("%d pings in %v, want %d to %d", n, d, least, most)
			}
		}
		since(time.Minute, 5, 6)
		f.Late.Store(true)
		ctx, cancel := context.WithCancel(t.Context())
		acquired := make(chan error, 1)
		go func() { acquired <- acquire(ctx, s, 5*time.Minute) }()
		since(time.Minute, 12, 120)
		if st != s.cur.Load() {
			t.Error("the stream has ended")
		}
		cancel()
		wantCode(t, <-acquired, codes.Canceled)
		f.Late.Store(false)
		time.Sleep(rest)
		f.Mute.Store(true)
		time.Sleep(rest + Dead + Quiet)
		if st == s.cur.Load() {
			t.Error("an idle stream to a node that hangs is kept")
		}
	})
}

// A node that says much hears that the client is there all the same.
func TestPingsToChatty(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		f := &fakenode.Node{Chatty: true}
		f.Late.Store(true)
		s := start(t, f)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		wantCode(t, acquire(ctx, s, 5*time.Minute), codes.DeadlineExceeded)
		if n := f.Pings.Load(); n < 10 || n > 12 {
			t.Errorf("%d pings in a minute", n)
		}
	})
}

// A request for the ring that is not answered is forgotten when its caller leaves, and counts as a
// sign that the node hangs.
func TestRingUnanswered(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		f := &fakenode.Node{}
		s := start(t, f)
		mustAcquire(t, s)
		f.Mute.Store(true)
		st := s.cur.Load()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := s.Ring(ctx)
		wantCode(t, err, codes.DeadlineExceeded)
		st.mu.Lock()
		if len(st.asked) != 0 {
			t.Errorf("%d are still waited for", len(st.asked))
		}
		st.mu.Unlock()
		_, err = s.Ring(t.Context())
		wantCode(t, err, codes.Unavailable)
	})
}

// What a message says before it turns out to be malformed has been said.
func TestMalformedAnswer(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		f := &fakenode.Node{}
		s := start(t, f)
		f.Bad.Store(true)
		mustAcquire(t, s)
		synctest.Wait()
		if s.IsThere() {
			t.Error("the stream goes on after a malformed message")
		}
		f.Bad.Store(false)
		mustAcquire(t, s)
	})
}

// slowFrames hold messages up until they are let go, and note how large they are.
type slowFrames struct {
	clienthook.Frames
	open    <-chan struct{}
	largest *atomic.Int64
}

// Send implements clienthook.Frames.
func (s slowFrames) Send(m []byte) error {
	<-s.open
	s.largest.Store(max(s.largest.Load(), int64(len(m))))
	return s.Frames.Send(m)
}

// However many calls wait to be sent, no message is larger than a node accepts.
func TestManyLargeCalls(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		open := make(chan struct{})
		var largest atomic.Int64
		s := start(t, &fakenode.Node{}, func(c *Config) {
			c.Wrap = func(_ string, f clienthook.Frames) clienthook.Frames { return slowFrames{f, open, &largest} }
		})
		why := map[string]string{"why": strings.Repeat("x", 2000)}
		var work sync.WaitGroup
		for n := range 6000 { // 12 MB
			work.Go(func() {
				_, _, err := s.Do(t.Context(), true, &sessionwire.Call{
					Kind: sessionwire.CallAcquire, AcquireRequest: sharelock.AcquireRequest{Key: fmt.Sprint("k", n), Metadata: why, Wait: -1},
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		close(open)
		work.Wait()
		if got := largest.Load(); got > fullMessage+4096 || got < fullMessage {
			t.Errorf("the largest message has %d bytes, want about %d", got, fullMessage)
		}
	})
}

// farewell is a stream on which a node says why it ends the session.
type farewell struct{ why error }

// Send implements clienthook.Frames.
func (farewell) Send([]byte) error { return nil }

// Close implements clienthook.Frames.
func (farewell) Close() error { return nil }

// Recv implements clienthook.Frames.
func (f farewell) Recv() ([]byte, error) {
	b, err := proto.Marshal(status.Convert(f.why).Proto())
	return sessionwire.AppendClosing(nil, b), err
}

// A node that ends a session says why: to calls in flight, if trying again is of no use, and in
// the error that the stream has ended with.
func TestEndedByNode(t *testing.T) {
	for _, tt := range []struct {
		why  error
		code codes.Code
	}{
		{status.Error(codes.PermissionDenied, "revoked on purpose"), codes.PermissionDenied},
		{status.Error(codes.ResourceExhausted, "full on purpose"), codes.Unavailable},
		{status.Error(codes.Unavailable, "gone on purpose"), codes.Unavailable},
	} {
		virtual.Test(t, func(t *testing.T) {
			f := &fakenode.Node{}
			s := start(t, f)
			mustAcquire(t, s)
			f.Late.Store(true)
			call := make(chan error, 1)
			go func() { call <- acquire(t.Context(), s, time.Minute) }()
			synctest.Wait()
			st := s.cur.Load()
			st.read(farewell{tt.why})
			st.mu.Lock()
			ended := st.err
			st.mu.Unlock()
			for _, err := range []error{ended, <-call} {
				if want := status.Convert(tt.why).Message(); status.Code(err) != tt.code || !strings.Contains(err.Error(), want) {
					t.Errorf("got %v, want %v", err, tt.why)
				}
			}
		})
	}
}
