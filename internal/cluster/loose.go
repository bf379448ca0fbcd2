package cluster

import (
	"context"
	"slices"
	"sync"

	"google.golang.org/protobuf/proto"

	"github.com/sgkandale/sharelock/internal/clienthook"
	"github.com/sgkandale/sharelock/mesh/link"
	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
	sharelockv1 "github.com/sgkandale/sharelock/proto/sharelock/v1"
)

// loose is a stream whose messages are independent of each other: the link between two
// members, or a client's session. Rules apply to each message separately.
type loose struct {
	tap tap
	to  int
	// below is the underlying stream. Its messages are bytes.
	below pipe
	// there and back split a message of one direction into its parts.
	there, back func(m []byte) []part
	// ctx ends with the stream. cancel breaks the stream.
	ctx    context.Context //nolint:containedctx // the lifetime of the stream
	cancel context.CancelFunc
	wake   chan struct{}

	// turn is held by the goroutine that sends. It is not a mutex, because a send may block, and
	// a bubble's time stands still while a goroutine waits for a mutex.
	turn chan struct{}

	mu    sync.Mutex
	inbox [][]byte // answers that have arrived; guarded by mu
	err   error    // how the answers ended; guarded by mu
	read  bool     // a goroutine reads the stream; guarded by mu
}

// pipe is the stream of messages below a loose one. Send does not keep its argument, and the
// caller owns what Recv returns.
type pipe interface {
	Send(m []byte) error
	Recv() ([]byte, error)
}

// part is one part of a message, with its kind.
type part struct {
	kind Kind
	m    []byte
	// ordered says that no later part may arrive before this one: if it is held, the stream breaks.
	ordered bool
}

func newLoose(t tap, to int, below pipe, ctx context.Context, cancel context.CancelFunc) *loose { //nolint:revive // the context is the stream's
	return &loose{tap: t, to: to, below: below, ctx: ctx, cancel: cancel, wake: make(chan struct{}, 1), turn: make(chan struct{}, 1)}
}

// whole returns a function that does not split messages.
func whole(k Kind) func(m []byte) []part {
	return func(m []byte) []part { return []part{{kind: k, m: m}} }
}

// encode returns a part with its encoded message.
func encode(k Kind, m proto.Message) part {
	data, err := proto.Marshal(m)
	if err != nil {
		panic(err) // it has just been decoded
	}
	return part{kind: k, m: data}
}

// answerParts splits a message of a node in a client's session. Events of watches are ordered.
func answerParts(m []byte) []part {
	var r sharelockv1.SessionResponse
	if err := proto.Unmarshal(m, &r); err != nil {
		panic(err)
	}
	if len(r.GetEvents()) == 0 {
		return whole(SessionAnswers)(m)
	}
	events := encode(SessionAnswers, &sharelockv1.SessionResponse{Events: r.GetEvents()})
	events.ordered, r.Events = true, nil
	return []part{encode(SessionAnswers, &r), events}
}

// requestParts splits a message of the member that dialled.
func requestParts(m []byte) (list []part) {
	var r peerv1.LinkRequest
	if err := proto.Unmarshal(m, &r); err != nil {
		panic(err)
	}
	if len(r.GetCalls()) > 0 {
		list = append(list, encode(Calls, &peerv1.LinkRequest{Calls: r.GetCalls()}))
	}
	if len(r.GetEntries()) > 0 {
		list = append(list, encode(Entries, &peerv1.LinkRequest{Epoch: r.GetEpoch(), Entries: r.GetEntries()}))
	}
	if r.GetPing() {
		list = append(list, encode(Ping, &peerv1.LinkRequest{Ping: true}))
	}
	return list
}

// responseParts splits a message of the member that was dialled.
func responseParts(m []byte) (list []part) {
	var r peerv1.LinkResponse
	if err := proto.Unmarshal(m, &r); err != nil {
		panic(err)
	}
	if len(r.GetAnswers()) > 0 {
		list = append(list, encode(Answers, &peerv1.LinkResponse{Answers: r.GetAnswers()}))
	}
	if len(r.GetAcks()) > 0 {
		list = append(list, encode(Acks, &peerv1.LinkResponse{Epoch: r.GetEpoch(), Acks: r.GetAcks()}))
	}
	if r.GetPong() {
		list = append(list, encode(Pong, &peerv1.LinkResponse{Pong: true}))
	}
	return list
}

// alone reports whether a message may be lost while those behind it arrive.
func (k Kind) alone() bool { return k == Entries || k == Acks || k == Ping || k == Pong }

// Send sends a message. While there are rules it is split, and they apply to each part.
func (s *loose) Send(m []byte) error {
	rules := s.tap.cluster.rules
	if !rules.some.Load() {
		return s.now(m)
	}
	for _, p := range s.there(slices.Clone(m)) {
		f := rules.of(s.tap.from, s.to, p.kind)
		switch {
		case f.act == vanish && p.kind.alone():
		case f.act == drop || f.act == vanish:
			s.cancel()
			return errLost
		case f.act == hold || f.act == late:
			rules.later(f, func() { _ = s.now(p.m) })
		default:
			if f.act == repeat && p.kind != SessionCalls && p.kind != Calls {
				rules.later(f, func() { _ = s.now(p.m) })
			}
			if err := s.now(p.m); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *loose) now(m []byte) error {
	if s.ctx.Err() != nil {
		return errLost // what was held comes too late for this stream
	}
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-s.ctx.Done():
		return errLost
	}
	return s.below.Send(m)
}

// Recv returns the next message that has arrived.
func (s *loose) Recv() ([]byte, error) {
	s.mu.Lock()
	first := !s.read
	s.read = true
	s.mu.Unlock()
	if first {
		go s.receive()
	}
	for {
		s.mu.Lock()
		if len(s.inbox) > 0 {
			m := s.inbox[0]
			s.inbox = s.inbox[1:]
			s.mu.Unlock()
			return m, nil
		}
		err := s.err
		s.mu.Unlock()
		if err != nil {
			return nil, err
		}
		<-s.wake
	}
}

// receive reads the stream to its end. It stops when the side that opened the stream ends it.
func (s *loose) receive() {
	rules := s.tap.cluster.rules
	for {
		m, err := s.below.Recv()
		if err != nil {
			s.mu.Lock()
			s.err = err
			s.mu.Unlock()
			s.nudge()
			return
		}
		if !rules.some.Load() {
			s.arrived(m)
			continue
		}
		for _, p := range s.back(m) {
			switch f := rules.of(s.to, s.tap.from, p.kind); {
			case f.act == vanish && p.kind.alone():
			case f.act == drop || f.act == vanish, p.ordered && (f.act == hold || f.act == late):
				s.cancel()
			case f.act == hold || f.act == late:
				rules.later(f, func() { s.arrived(p.m) })
			default:
				s.arrived(p.m)
				if f.act == repeat && p.kind != SessionAnswers {
					rules.later(f, func() { s.arrived(slices.Clone(p.m)) })
				}
			}
		}
	}
}

func (s *loose) arrived(m []byte) {
	s.mu.Lock()
	s.inbox = append(s.inbox, m)
	s.mu.Unlock()
	s.nudge()
}

func (s *loose) nudge() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// looseSession is a client's session.
type looseSession struct {
	*loose
	frames clienthook.Frames
}

var _ clienthook.Frames = (*looseSession)(nil)

// keptFrames makes Frames a pipe: it copies messages, so that the caller owns them.
type keptFrames struct{ clienthook.Frames }

// Send implements pipe.
func (f keptFrames) Send(m []byte) error { return f.Frames.Send(slices.Clone(m)) }

// Recv implements pipe.
func (f keptFrames) Recv() ([]byte, error) {
	m, err := f.Frames.Recv()
	return slices.Clone(m), err
}

// session applies the rules to a client's session.
func (t tap) session(addr string, f clienthook.Frames) clienthook.Frames {
	to, ok := t.cluster.nodeAt(addr)
	if !ok {
		return f
	}
	ctx, cancel := context.WithCancel(context.Background())
	context.AfterFunc(ctx, func() { _ = f.Close() })
	l := newLoose(t, to, keptFrames{f}, ctx, cancel)
	l.there, l.back = whole(SessionCalls), answerParts
	return &looseSession{l, f}
}

// Close implements clienthook.Frames.
func (s *looseSession) Close() error {
	s.cancel()
	return s.frames.Close()
}

// looseLink is a link between two members.
type looseLink struct {
	*loose
	frames link.Frames
}

var _ link.Frames = (*looseLink)(nil)

// link applies the rules to a link.
func (t tap) link(addr string, f link.Frames) link.Frames {
	to, ok := t.cluster.nodeAt(addr)
	if !ok {
		return f
	}
	ctx, cancel := context.WithCancel(context.Background())
	context.AfterFunc(ctx, func() { _ = f.Close() })
	l := newLoose(t, to, f, ctx, cancel)
	l.there, l.back = requestParts, responseParts
	return &looseLink{l, f}
}

// Close implements link.Frames.
func (l *looseLink) Close() error {
	l.cancel()
	return l.frames.Close()
}
