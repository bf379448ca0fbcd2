// Package fakenode has a node for tests of the client's parts: it speaks sessions without gRPC and grants
// whatever it is asked for.
package fakenode

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/frame"
	"github.com/sgkandale/sharelock/internal/sessionwire"
	sharelockv1 "github.com/sgkandale/sharelock/proto/sharelock/v1"
)

// chatter is how often a chatty node says something.
const chatter = 500 * time.Millisecond

// Node is a node that grants whatever it is asked for. Its fields are set before its first connection, the
// atomic ones at any time.
type Node struct {
	// Behind opens a connection to what speaks gRPC at the same address; nil is nothing.
	Behind func(ctx context.Context, addr string) (net.Conn, error)
	// First is asked what to do with a plain stream once its first bytes are there: true is to speak,
	// which is also what nil does. n counts the streams.
	First func(n int64, conn net.Conn) bool

	// TLS, if set, is the server's; Accepts, if set, reports whether a token is good.
	TLS     *tls.Config
	Accepts func(token string) bool
	// Presented is the newest token, a string.
	Presented atomic.Value

	// Watch answers a request about a watch, with a SessionResponse in wire format or nil. A node without it
	// takes no watches.
	Watch func(k *sessionwire.Keep) []byte

	// Mute hears and says nothing; Late answers pings alone; Bad follows good answers with a malformed one.
	Mute, Late, Bad atomic.Bool
	// Chatty nodes say something all the time.
	Chatty bool

	// Dials counts connections, Plain those that were sessions without gRPC, and Others those that were not.
	Dials, Plain, Others atomic.Int64
	// RingAsked and Pings count what the node was asked.
	RingAsked, Pings atomic.Int64

	tokens atomic.Uint64
}

// Dial opens a connection to the node.
func (f *Node) Dial(ctx context.Context, addr string) (net.Conn, error) {
	f.Dials.Add(1)
	l := bufconn.Listen(1 << 16)
	go func() {
		if far, err := l.Accept(); err == nil {
			f.Serve(addr, far)
		}
	}()
	near, err := l.DialContext(ctx)
	return near, errors.Join(err, l.Close()) // its stream goes on
}

// Serve serves one connection to the node at an address.
func (f *Node) Serve(addr string, conn net.Conn) {
	defer conn.Close() //nolint:errcheck // a pipe
	if f.TLS != nil {
		conn = tls.Server(conn, f.TLS)
	}
	head := make([]byte, len(sessionwire.SessionMagic))
	if _, err := io.ReadFull(conn, head); err != nil {
		return
	}
	if string(head) != sessionwire.SessionMagic {
		f.Others.Add(1)
		f.proxy(addr, head, conn)
		return
	}
	if n := f.Plain.Add(1); f.First != nil && !f.First(n, conn) {
		return
	}
	if sessionwire.ReadHello(conn) != nil {
		return
	}
	if _, err := conn.Write(sessionwire.AppendWelcome(nil)); err != nil {
		return
	}
	t := &talk{node: f, frames: frame.New(conn, sessionwire.MaxSessionFrame, time.Hour), turn: make(chan struct{}, 1)}
	ended := make(chan struct{})
	defer close(ended)
	if f.Chatty {
		go t.chat(ended)
	}
	t.run()
}

// talk is a session with the node.
type talk struct {
	node   *Node
	frames *frame.Conn
	turn   chan struct{} // held while a message is sent
	token  string        // the newest
	spoke  bool          // something was answered
}

func (t *talk) send(m []byte) error {
	t.turn <- struct{}{}
	defer func() { <-t.turn }()
	return t.frames.Send(m)
}

// chat sends something all the time until the session has ended.
func (t *talk) chat(ended <-chan struct{}) {
	for t.send(sessionwire.AppendPing(nil)) == nil {
		select {
		case <-time.After(chatter):
		case <-ended:
		}
	}
}

// run answers messages until the session ends.
func (t *talk) run() {
	for {
		m, err := t.frames.Recv()
		if err != nil {
			return
		}
		if t.node.Mute.Load() {
			continue
		}
		out := t.answer(m)
		if len(out) > 0 && !t.spoke && t.node.Watch != nil {
			out = sessionwire.AppendWatches(out)
		}
		t.spoke = t.spoke || len(out) > 0
		if len(out) > 0 && t.send(out) != nil {
			return
		}
	}
}

// answer returns the answer to one message, or nil if the node does not answer it.
func (t *talk) answer(m []byte) (out []byte) {
	f := t.node
	if token, err := sessionwire.ReadToken(m); err == nil && token != nil {
		t.token = string(token)
		f.Presented.Store(t.token)
	}
	var calls sessionwire.CallReader
	calls.Reset(m)
	for c := (sessionwire.Call{}); ; {
		more, err := calls.Next(&c)
		if err != nil || !more {
			break
		}
		if !f.Late.Load() {
			out = sessionwire.AppendReply(out, t.reply(&c))
		}
	}
	if calls.Ping {
		f.Pings.Add(1)
		out = sessionwire.AppendPing(out)
	}
	if f.Bad.Load() && len(out) > 0 {
		out = append(out, 10, 200)
	}
	var keeps sessionwire.KeepReader
	keeps.Reset(m)
	for k := (sessionwire.Keep{}); ; {
		more, err := keeps.Next(&k)
		if err != nil || !more {
			return out
		}
		if k.Kind == sessionwire.KeepRing {
			f.RingAsked.Add(1)
			out = sessionwire.AppendRing(out, nil)
		}
		if k.Kind >= sessionwire.KeepWatch && f.Watch != nil {
			out = append(out, f.Watch(&k)...)
		}
	}
}

// reply grants what a call asks for.
func (t *talk) reply(c *sessionwire.Call) *sessionwire.Reply {
	f := t.node
	if f.Accepts != nil && !f.Accepts(t.token) {
		return &sessionwire.Reply{ID: c.ID, Status: unauthenticated()}
	}
	return &sessionwire.Reply{ID: c.ID, Hold: sharelock.Hold{
		Token: max(c.Token, sharelock.Token(f.tokens.Add(1))), TTL: time.Minute, ExpiresIn: time.Minute, SafeFor: time.Minute,
	}}
}

// unauthenticated is the status of a refused credential, in wire format.
func unauthenticated() []byte {
	b, err := proto.Marshal(sharelockv1.ToStatus(sharelock.ErrUnauthenticated).Proto())
	if err != nil {
		panic(err)
	}
	return b
}

// proxy passes a stream on to what is behind the node.
func (f *Node) proxy(addr string, head []byte, conn net.Conn) {
	if f.Behind == nil {
		return
	}
	to, err := f.Behind(context.Background(), addr)
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
