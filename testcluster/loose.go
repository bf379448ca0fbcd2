package testcluster

import (
	"sync"

	"google.golang.org/protobuf/proto"

	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
	sharelockv1 "github.com/sgkandale/sharelock/proto/sharelock/v1"
)

// loose is a stream of messages that have nothing to do with each other: the link
// between two members, or a client's session. Each message has a fate of its own.
type loose struct {
	tapped
	// parts takes a message apart.
	parts func(m any) []part
	// fresh makes an empty answer, and copied copies one.
	fresh  func() any
	copied func(into, from any)
	wake   chan struct{}

	// turn is held by the one who sends; not a mutex, since sending may wait, and a
	// bubble's time stands still while somebody waits for a mutex.
	turn chan struct{}

	mu    sync.Mutex
	inbox []any // answers that have arrived; guarded by mu
	err   error // the end of the answers; guarded by mu
	read  bool  // somebody reads the stream; guarded by mu
}

// part is one message of a kind.
type part struct {
	kind Kind
	m    any
}

func newLoose(t tapped, method string) *loose {
	s := &loose{tapped: t, wake: make(chan struct{}, 1), turn: make(chan struct{}, 1)}
	if method == peerv1.PeerService_Link_FullMethodName {
		s.parts = linkParts
		s.fresh = func() any { return &peerv1.LinkResponse{} }
		s.copied = func(into, from any) { proto.Merge(into.(proto.Message), from.(proto.Message)) }
		return s
	}
	s.parts = sessionParts
	s.fresh = func() any { return &sharelockv1.Frame{} }
	s.copied = func(into, from any) { *into.(*sharelockv1.Frame) = *from.(*sharelockv1.Frame) }
	return s
}

func sessionParts(m any) []part {
	if _, sent := m.(answer); sent {
		return []part{{SessionAnswers, m}}
	}
	return []part{{SessionCalls, m}}
}

// answer marks a message of a session that comes from the node.
type answer struct{ m any }

func linkParts(m any) (list []part) {
	if a, ok := m.(answer); ok {
		r := a.m.(*peerv1.LinkResponse)
		if len(r.GetAnswers()) > 0 {
			list = append(list, part{Answers, &peerv1.LinkResponse{Answers: r.GetAnswers(), Epoch: r.GetEpoch()}})
		}
		if len(r.GetAcks()) > 0 {
			list = append(list, part{Acks, &peerv1.LinkResponse{Epoch: r.GetEpoch(), Acks: r.GetAcks()}})
		}
		if r.GetPong() {
			list = append(list, part{Pong, &peerv1.LinkResponse{Epoch: r.GetEpoch(), Pong: true}})
		}
		return list
	}
	r := m.(*peerv1.LinkRequest)
	if len(r.GetCalls()) > 0 {
		list = append(list, part{Calls, &peerv1.LinkRequest{Epoch: r.GetEpoch(), Calls: r.GetCalls()}})
	}
	if len(r.GetEntries()) > 0 {
		list = append(list, part{Entries, &peerv1.LinkRequest{Epoch: r.GetEpoch(), Entries: r.GetEntries()}})
	}
	if r.GetPing() {
		list = append(list, part{Ping, &peerv1.LinkRequest{Epoch: r.GetEpoch(), Ping: true}})
	}
	return list
}

// alone: the message may be lost, and those behind it arrive.
func (k Kind) alone() bool { return k == Entries || k == Acks || k == Ping || k == Pong }

// SendMsg implements grpc.ClientStream.
func (s *loose) SendMsg(m any) error {
	rules := s.tap.cluster.rules
	if !rules.some.Load() {
		return s.now(m)
	}
	for _, p := range s.parts(m) {
		f := rules.of(s.tap.from, s.to, p.kind)
		switch {
		case f.act == vanish && p.kind.alone():
		case f.act == drop || f.act == vanish:
			s.cancel()
			return s.now(m) // which says that the stream is broken
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

func (s *loose) now(m any) error {
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-s.Context().Done():
		return errLost
	}
	return s.ClientStream.SendMsg(m)
}

// CloseSend implements grpc.ClientStream.
func (s *loose) CloseSend() error {
	s.turn <- struct{}{}
	defer func() { <-s.turn }()
	return s.ClientStream.CloseSend()
}

// RecvMsg implements grpc.ClientStream.
func (s *loose) RecvMsg(m any) error {
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
			s.copied(m, s.inbox[0])
			s.inbox = s.inbox[1:]
			s.mu.Unlock()
			return nil
		}
		err := s.err
		s.mu.Unlock()
		if err != nil {
			return err
		}
		<-s.wake
	}
}

// receive reads the stream to its end. It ends with the stream, which whoever opened
// it ends.
func (s *loose) receive() {
	rules := s.tap.cluster.rules
	for {
		m := s.fresh()
		if err := s.ClientStream.RecvMsg(m); err != nil {
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
		for _, p := range s.parts(answer{m}) {
			if a, ok := p.m.(answer); ok {
				p.m = a.m
			}
			switch f := rules.of(s.to, s.tap.from, p.kind); {
			case f.act == vanish && p.kind.alone():
			case f.act == drop || f.act == vanish:
				s.cancel()
			case f.act == hold || f.act == late:
				rules.later(f, func() { s.arrived(p.m) })
			default:
				s.arrived(p.m)
				if f.act == repeat && p.kind != SessionAnswers {
					rules.later(f, func() { s.arrived(p.m) })
				}
			}
		}
	}
}

func (s *loose) arrived(m any) {
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
