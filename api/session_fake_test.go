package api

import (
	"context"
	"slices"
	"sync"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/sessionwire"
)

// panickingKeepalive makes a fakeSession panic.
const panickingKeepalive = 666

// fakeSession runs every call in a goroutine of its own.
type fakeSession struct {
	node      *fakeNode
	to        Sink
	principal string
	work      sync.WaitGroup

	mu     sync.Mutex
	calls  map[uint64]fakeCall // guarded by mu
	kept   []sessionwire.Keep  // guarded by mu
	alive  uint64              // guarded by mu
	closed bool                // guarded by mu
}

// fakeCall is a call in flight.
type fakeCall struct {
	key    string
	cancel context.CancelCauseFunc
}

func (n *fakeNode) Open(to Sink, principal string) Session {
	n.mu.Lock()
	panicking := n.panicking
	n.mu.Unlock()
	if panicking {
		panic("as the test wants it")
	}
	n.open.Add(1)
	return &fakeSession{node: n, to: to, principal: principal, calls: map[uint64]fakeCall{}}
}

func (s *fakeSession) Start(calls []sessionwire.Call) {
	for _, c := range calls {
		s.start(c)
	}
}

func (s *fakeSession) start(call sessionwire.Call) {
	ctx, cancel := context.WithCancelCause(context.Background())
	s.mu.Lock()
	s.calls[call.ID] = fakeCall{call.Key, cancel}
	s.mu.Unlock()
	s.work.Go(func() {
		defer cancel(nil)
		h, err := s.do(ctx, &call)
		if err != nil && ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		s.mu.Lock()
		closed := s.closed
		delete(s.calls, call.ID)
		s.mu.Unlock()
		if !closed {
			s.to.Answer(call.ID, h, err)
		}
	})
}

func (s *fakeSession) do(ctx context.Context, c *sessionwire.Call) (sharelock.Hold, error) {
	switch {
	case c.Err != nil:
		return sharelock.Hold{}, c.Err
	case c.Kind == sessionwire.CallAcquire:
		return s.node.Acquire(ctx, c.AcquireRequest)
	case c.Kind == sessionwire.CallGiveUp:
		return sharelock.Hold{}, s.node.GiveUp(ctx, c.Key, c.ClientID, c.RequestID)
	case c.Kind == sessionwire.CallRenew:
		return s.node.Renew(ctx, c.Key, c.Token, c.TTL, c.Metadata)
	default:
		return s.node.Release(ctx, c.Key, c.Token, c.SentOnce)
	}
}

func (s *fakeSession) Cancel(id uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c, ok := s.calls[id]; ok {
		c.cancel(nil)
	}
}

// Revoke cancels waiting acquires and detaches holds.
func (s *fakeSession) Revoke(allowed func(key string) (anyHold bool, err error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.calls {
		if _, err := allowed(c.key); err != nil {
			c.cancel(err)
		}
	}
	s.kept = slices.DeleteFunc(s.kept, func(k sessionwire.Keep) bool {
		_, err := allowed(k.Key)
		if err != nil {
			s.to.Ended(k.ID, err)
		}
		return err != nil
	})
}

// Keep renews attached holds at once, and at every keepalive.
func (s *fakeSession) Keep(list []sessionwire.Keep) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range list {
		switch k.Kind {
		case sessionwire.KeepAttach:
			s.kept = append(s.kept, k)
		case sessionwire.KeepDetach:
			s.kept = slices.DeleteFunc(s.kept, func(o sessionwire.Keep) bool { return o.ID == k.ID })
		case sessionwire.KeepClose:
			for _, k := range s.kept {
				_, _ = s.node.Release(context.Background(), k.Key, k.Token, false)
			}
			s.kept = nil
			s.to.Released()
		default:
			if k.ID == panickingKeepalive {
				panic("as the test wants it")
			}
			s.alive = k.ID
		}
	}
	var renewed []uint64
	s.kept = slices.DeleteFunc(s.kept, func(k sessionwire.Keep) bool {
		err := k.Err
		if err == nil {
			_, err = s.node.Renew(context.Background(), k.Key, k.Token, 0, nil)
		}
		if err != nil {
			s.to.Ended(k.ID, err)
			return true
		}
		renewed = append(renewed, k.ID)
		return false
	})
	if len(renewed) > 0 && s.alive > 0 {
		s.to.Renewed(s.alive, renewed)
	}
}

func (s *fakeSession) Close() {
	s.mu.Lock()
	s.closed = true
	for _, c := range s.calls {
		c.cancel(nil)
	}
	s.mu.Unlock()
	s.work.Wait()
	s.node.open.Add(-1)
}

func (n *fakeNode) Placement() (Placement, error) {
	if n.ready != nil {
		return Placement{}, n.ready
	}
	return Placement{
		Epoch: 59712345, Owners: []uint32{0, 1, 1, 0},
		Members: []sharelock.Member{{Name: "a", GRPC: "10.0.0.1:50052"}, {Name: "b", GRPC: "10.0.0.2:50052"}},
	}, nil
}
