package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/clienthook"
	"github.com/sgkandale/sharelock/internal/frame"
	"github.com/sgkandale/sharelock/internal/sessionwire"
	"github.com/sgkandale/sharelock/internal/virtual"
	sharelockv1 "github.com/sgkandale/sharelock/proto/sharelock/v1"
)

// wireFake is a node that grants whatever it is asked for over plain sessions, and a
// mesh of gRPC behind the same address.
type wireFake struct {
	mesh *fakeMesh
	// first is asked what to do with a plain stream once its first bytes are there; nil
	// is to speak.
	first func(n int64, conn net.Conn) bool

	// tls, if set, is the server's; accepts, if set, reports whether a token is good.
	tls     *tls.Config
	accepts func(token string) bool
	// presented is the newest token, a string.
	presented atomic.Value

	// mute hears and says nothing; late answers pings alone. bad follows good answers with
	// what is none.
	mute, late, bad atomic.Bool
	// chatty nodes say something all the time.
	chatty bool

	dials, plain, others atomic.Int64
	tokens               atomic.Uint64
	ringAsked, pings     atomic.Int64
}

// dial opens a stream to the node.
func (f *wireFake) dial(ctx context.Context, addr string) (net.Conn, error) {
	f.dials.Add(1)
	l := bufconn.Listen(1 << 16)
	go func() {
		if far, err := l.Accept(); err == nil {
			f.serve(addr, far)
		}
	}()
	near, err := l.DialContext(ctx)
	return near, errors.Join(err, l.Close()) // its stream goes on
}

func (f *wireFake) serve(addr string, conn net.Conn) {
	defer conn.Close() //nolint:errcheck // a pipe
	if f.tls != nil {
		conn = tls.Server(conn, f.tls)
	}
	head := make([]byte, len(sessionwire.SessionMagic))
	if _, err := io.ReadFull(conn, head); err != nil {
		return
	}
	if string(head) != sessionwire.SessionMagic {
		f.others.Add(1)
		f.proxy(addr, head, conn)
		return
	}
	if n := f.plain.Add(1); f.first != nil && !f.first(n, conn) {
		return
	}
	if sessionwire.ReadHello(conn) != nil {
		return
	}
	if _, err := conn.Write(sessionwire.AppendWelcome(nil)); err != nil {
		return
	}
	var (
		frames = frame.New(conn, sessionwire.MaxSessionFrame, time.Hour)
		calls  sessionwire.CallReader
		keeps  sessionwire.KeepReader
		turn   = make(chan struct{}, 1)
		token  string
	)
	send := func(m []byte) error {
		turn <- struct{}{}
		defer func() { <-turn }()
		return frames.Send(m)
	}
	ended := make(chan struct{})
	defer close(ended)
	if f.chatty {
		go func() {
			for send(sessionwire.AppendPing(nil)) == nil {
				select {
				case <-time.After(quiet / 2):
				case <-ended:
				}
			}
		}()
	}
	for {
		m, err := frames.Recv()
		if err != nil {
			return
		}
		if f.mute.Load() {
			continue
		}
		if t, err := sessionwire.ReadToken(m); err == nil && t != nil {
			token = string(t)
			f.presented.Store(token)
		}
		var out []byte
		calls.Reset(m)
		for c := (sessionwire.Call{}); ; {
			more, err := calls.Next(&c)
			if err != nil || !more {
				break
			}
			if f.late.Load() {
				continue
			}
			if f.accepts != nil && !f.accepts(token) {
				out = sessionwire.AppendReply(out, &sessionwire.Reply{ID: c.ID, Status: unauthenticated()})
				continue
			}
			out = sessionwire.AppendReply(out, &sessionwire.Reply{ID: c.ID, Hold: sharelock.Hold{
				Token: max(c.Token, sharelock.Token(f.tokens.Add(1))), TTL: time.Minute, ExpiresIn: time.Minute, SafeFor: time.Minute,
			}})
		}
		if calls.Ping {
			f.pings.Add(1)
			out = sessionwire.AppendPing(out)
		}
		if f.bad.Load() && len(out) > 0 {
			out = append(out, 10, 200)
		}
		keeps.Reset(m)
		for k := (sessionwire.Keep{}); ; {
			more, err := keeps.Next(&k)
			if err != nil || !more {
				break
			}
			if k.Kind == sessionwire.KeepRing {
				f.ringAsked.Add(1)
				out = sessionwire.AppendRing(out, nil)
			}
		}
		if len(out) > 0 && send(out) != nil {
			return
		}
	}
}

// unauthenticated is the status of a refused credential, in wire format.
func unauthenticated() []byte {
	b, err := proto.Marshal(sharelockv1.ToStatus(sharelock.ErrUnauthenticated).Proto())
	if err != nil {
		panic(err)
	}
	return b
}

// proxy hands a stream on to the mesh.
func (f *wireFake) proxy(addr string, head []byte, conn net.Conn) {
	if f.mesh == nil {
		return
	}
	to, err := f.mesh.dial(context.Background(), addr)
	if err != nil {
		return
	}
	defer to.Close() //nolint:errcheck // a pipe
	go func() {
		_, _ = io.Copy(to, io.MultiReader(bytes.NewReader(head), conn))
		_ = to.Close()
	}()
	_, _ = io.Copy(conn, to)
}

func dialWire(t *testing.T, f *wireFake, o Options) (*Client, error) {
	t.Helper()
	return dialHooked(t, f, o, clienthook.Hooks{})
}

func dialHooked(t *testing.T, f *wireFake, o Options, hooks clienthook.Hooks) (*Client, error) {
	t.Helper()
	begin := time.Now()
	o.Dialer, hooks.Clock = f.dial, func() time.Duration { return time.Since(begin) }
	c, err := Dial(clienthook.With(t.Context(), hooks), []string{"a:1"}, o)
	if err == nil {
		t.Cleanup(func() {
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	return c, err
}

// pair takes a lock and gives it back.
func pair(t *testing.T, c *Client) {
	t.Helper()
	l, err := c.Acquire(t.Context(), "k")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Release(t.Context()); err != nil {
		t.Error(err)
	}
}

// A node that speaks plainly is never called by gRPC: neither to see that it is there
// nor to learn who owns what.
func TestPlain(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		f := &wireFake{}
		c, err := dialWire(t, f, Options{})
		if err != nil {
			t.Fatal(err)
		}
		pair(t, c)
		time.Sleep(time.Second)
		if f.dials.Load() != 1 || f.others.Load() != 0 {
			t.Errorf("%d streams, %d of them gRPC's", f.dials.Load(), f.others.Load())
		}
		if f.ringAsked.Load() == 0 {
			t.Error("it was not asked who owns what")
		}
	})
}

// A node that knows gRPC alone is called so, and told apart once.
func TestPlainUnknown(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		m, _ := startMesh(t, "a:1")
		m.set(func() { m.sessions = true })
		f := &wireFake{mesh: m, first: func(_ int64, conn net.Conn) bool {
			_, _ = conn.Write([]byte("\x00\x00\x06\x04\x00\x00\x00\x00\x00")) // HTTP/2's settings
			return false
		}}
		c, err := dialWire(t, f, Options{})
		if err != nil {
			t.Fatal(err)
		}
		pair(t, c)
		c.nodes[0].session.cur.Load().end() // another stream is opened
		synctest.Wait()
		pair(t, c)
		if n := f.plain.Load(); n != 1 {
			t.Errorf("%d plain streams were tried, want 1", n)
		}
	})
}

// A node that just goes down is not taken for one that knows gRPC alone; where streams
// always end something stands before it that does not know what they are. Either is tried
// again later.
func TestPlainGoingDown(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		var from atomic.Int64
		from.Store(mostEnds)
		m, _ := startMesh(t, "a:1")
		m.set(func() { m.sessions = true })
		f := &wireFake{mesh: m, first: func(n int64, _ net.Conn) bool { return n >= from.Load() }}
		c, err := dialWire(t, f, Options{})
		if err != nil {
			t.Fatal(err)
		}
		pair(t, c)
		s := c.nodes[0].session
		if s.grpcOnly() || f.plain.Load() != mostEnds {
			t.Errorf("after %d plain streams gRPC alone is used: %v", f.plain.Load(), s.grpcOnly())
		}
		from.Store(2*mostEnds + 1)
		s.cur.Load().end()
		synctest.Wait()
		pair(t, c)
		if !s.grpcOnly() || f.plain.Load() != 2*mostEnds {
			t.Errorf("after %d plain streams gRPC alone is used: %v", f.plain.Load(), s.grpcOnly())
		}
		time.Sleep(relearn)
		s.cur.Load().end()
		synctest.Wait()
		pair(t, c)
		if s.grpcOnly() || f.plain.Load() != 2*mostEnds+1 {
			t.Errorf("after %d plain streams, the last a good one, gRPC alone is used: %v", f.plain.Load(), s.grpcOnly())
		}
	})
}

// Only the first call waits for a node that cannot be reached; it is tried again beside
// the others, less and less often, and used as soon as it is there.
func TestUnreachable(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		var there atomic.Bool
		there.Store(true)
		f := &wireFake{first: func(_ int64, conn net.Conn) bool {
			if !there.Load() {
				_, _ = io.Copy(io.Discard, conn)
			}
			return there.Load()
		}}
		c, err := dialWire(t, f, Options{OnlyAddrs: true, Retry: Retry{Attempts: 1}})
		if err != nil {
			t.Fatal(err)
		}
		there.Store(false)
		s := c.nodes[0].session
		s.cur.Load().end()
		synctest.Wait()
		begin, tried := time.Now(), f.plain.Load()
		for n := range 600 {
			before := time.Now()
			_, err := c.Acquire(t.Context(), "k", Wait(0))
			if took := time.Since(before); !errors.Is(err, ErrUnreachable) || n > 0 && took > 0 {
				t.Fatalf("call %d: %v after %v", n, err, took)
			}
			time.Sleep(100 * time.Millisecond)
		}
		if n := f.plain.Load() - tried; n < 15 || n > 30 {
			t.Errorf("%d streams were tried in %v", n, time.Since(begin))
		}
		there.Store(true)
		time.Sleep(longestConnect + longestTry)
		_, _ = c.Acquire(t.Context(), "k", Wait(0)) // has it tried
		synctest.Wait()
		pair(t, c)

		// What was found out long ago counts no more.
		there.Store(false)
		s.cur.Load().end()
		synctest.Wait()
		if _, err := c.Acquire(t.Context(), "k", Wait(0)); !errors.Is(err, ErrUnreachable) {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second) // the end of what the acquire left to be done
		there.Store(true)
		time.Sleep(longestTry + staleTry)
		pair(t, c)
	})
}

// A session says something while its calls are under way, and from time to time when
// none are; so a node that hangs is noticed either way.
func TestPings(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		f := &wireFake{}
		c, err := dialWire(t, f, Options{})
		if err != nil {
			t.Fatal(err)
		}
		pair(t, c)
		st := c.nodes[0].session.cur.Load()
		since := func(d time.Duration, least, most int64) {
			t.Helper()
			before := f.pings.Load()
			time.Sleep(d)
			if n := f.pings.Load() - before; n < least || n > most {
				t.Errorf("%d pings in %v, want %d to %d", n, d, least, most)
			}
		}
		since(time.Minute, 5, 6)
		f.late.Store(true)
		ctx, cancel := context.WithCancel(t.Context())
		acquired := make(chan error, 1)
		go func() {
			_, err := c.Acquire(ctx, "k", Wait(5*time.Minute))
			acquired <- err
		}()
		since(time.Minute, 12, 120)
		if st != c.nodes[0].session.cur.Load() {
			t.Error("the stream has ended")
		}
		cancel()
		if err := <-acquired; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		f.late.Store(false)
		time.Sleep(rest)
		f.mute.Store(true)
		time.Sleep(rest + dead + quiet)
		if st == c.nodes[0].session.cur.Load() {
			t.Error("an idle stream to a node that hangs is kept")
		}
	})
}

// A node that says much hears that the client is there all the same.
func TestPingsToChatty(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		f := &wireFake{chatty: true}
		f.late.Store(true)
		c, err := dialWire(t, f, Options{OnlyAddrs: true})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := c.Acquire(ctx, "k", Wait(5*time.Minute)); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		if n := f.pings.Load(); n < 10 || n > 12 {
			t.Errorf("%d pings in a minute", n)
		}
	})
}

// Who asks in vain who owns what leaves nothing behind, and shows that the node hangs.
func TestRingUnanswered(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		f := &wireFake{}
		c, err := dialWire(t, f, Options{OnlyAddrs: true})
		if err != nil {
			t.Fatal(err)
		}
		f.mute.Store(true)
		st := c.nodes[0].session.cur.Load()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := c.nodes[0].ring(ctx); status.Code(err) != codes.DeadlineExceeded {
			t.Errorf("no answer: %v", err)
		}
		st.mu.Lock()
		if len(st.asked) != 0 {
			t.Errorf("%d are still waited for", len(st.asked))
		}
		st.mu.Unlock()
		if _, err := c.nodes[0].ring(t.Context()); status.Code(err) != codes.Unavailable {
			t.Errorf("a node that hangs: %v", err)
		}
	})
}

// What a message says before it turns out to be malformed has been said.
func TestMalformedAnswer(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		f := &wireFake{}
		c, err := dialWire(t, f, Options{OnlyAddrs: true, Retry: Retry{Attempts: 1}})
		if err != nil {
			t.Fatal(err)
		}
		f.bad.Store(true)
		if _, err := c.Acquire(t.Context(), "k", Wait(0)); err != nil {
			t.Errorf("an answer that came: %v", err)
		}
		f.bad.Store(false)
	})
}

// A node that takes a stream and says nothing costs an attempt as long as a connection
// may take, no longer.
func TestPlainMute(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		f := &wireFake{first: func(_ int64, conn net.Conn) bool {
			_, _ = io.Copy(io.Discard, conn)
			return false
		}}
		begin := time.Now()
		_, err := dialWire(t, f, Options{Retry: Retry{Attempts: 1}})
		if took := time.Since(begin); !errors.Is(err, ErrUnreachable) || took != longestConnect {
			t.Errorf("%v after %v, want it unreachable after %v", err, took, longestConnect)
		}
		if n := f.others.Load(); n != 2 {
			t.Errorf("%d streams that are no session, want 2 that look what it speaks", n)
		}
	})
}

// What is chosen decides, and DialOptions do if nothing is.
func TestTransport(t *testing.T) {
	for _, tt := range []struct {
		name      string
		transport Transport
		options   bool
		plain     bool
	}{
		{"by default", 0, false, true},
		{"with DialOptions", 0, true, false},
		{"gRPC", TransportGRPC, false, false},
		{"plain with DialOptions", TransportPlain, true, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			virtual.Test(t, func(t *testing.T) {
				m, opts := startMesh(t, "a:1")
				m.set(func() { m.sessions = true })
				f := &wireFake{mesh: m}
				o := Options{Transport: tt.transport}
				if tt.options {
					o.DialOptions = opts
				}
				c, err := dialWire(t, f, o)
				if err != nil {
					t.Fatal(err)
				}
				pair(t, c)
				if got := f.plain.Load() > 0; got != tt.plain {
					t.Errorf("plain: %v, want %v", got, tt.plain)
				}
			})
		})
	}
	_, err := Dial(t.Context(), []string{"a:1"}, Options{Transport: 3, Retry: Retry{Attempts: -1}})
	if !errors.Is(err, sharelock.ErrInvalidArgument) || !strings.Contains(err.Error(), "Transport") || !strings.Contains(err.Error(), "Retry.Attempts") {
		t.Errorf("two bad options: %v", err)
	}
}

// slowFrames hold messages up until they are let go, and note how large they are.
type slowFrames struct {
	clienthook.Frames
	open    <-chan struct{}
	largest *atomic.Int64
}

func (s slowFrames) Send(m []byte) error {
	<-s.open
	s.largest.Store(max(s.largest.Load(), int64(len(m))))
	return s.Frames.Send(m)
}

// However many calls wait to be sent, no message is larger than a node takes.
func TestManyLargeCalls(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		open := make(chan struct{})
		var largest atomic.Int64
		c, err := dialHooked(t, &wireFake{}, Options{}, clienthook.Hooks{
			Sessions: func(_ string, f clienthook.Frames) clienthook.Frames { return slowFrames{f, open, &largest} },
		})
		if err != nil {
			t.Fatal(err)
		}
		why := Metadata(map[string]string{"why": strings.Repeat("x", 2000)})
		var work sync.WaitGroup
		for n := range 6000 { // 12 MB
			work.Go(func() {
				l, err := c.Acquire(t.Context(), fmt.Sprint("k", n), why)
				if err == nil {
					err = l.Release(t.Context())
				}
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
