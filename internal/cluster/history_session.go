package cluster

import (
	"context"
	"sync"
	"time"

	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/sgkandale/sharelock/internal/clienthook"
	"github.com/sgkandale/sharelock/internal/sessionwire"
	sharelockv1 "github.com/sgkandale/sharelock/proto/sharelock/v1"
)

// record returns f with every call of the session recorded.
func (h *History) record(f clienthook.Frames, name string, rate float64) clienthook.Frames {
	return &recorded{Frames: f, history: h, client: name, rate: rate, calls: map[uint64]*Call{}, kept: map[uint64]sessionwire.Keep{}, alive: map[uint64]time.Time{}}
}

// recorded is a session whose calls are recorded.
type recorded struct {
	clienthook.Frames
	history *History
	client  string
	rate    float64

	mu    sync.Mutex
	calls map[uint64]*Call // in flight; guarded by mu
	// kept holds the holds that the node keeps alive. alive holds when each keepalive was sent.
	// Both are guarded by mu.
	kept  map[uint64]sessionwire.Keep
	alive map[uint64]time.Time
}

// Send implements clienthook.Frames.
func (r *recorded) Send(message []byte) error {
	var (
		reader sessionwire.CallReader
		c      sessionwire.Call
	)
	reader.Reset(message)
	for {
		more, err := reader.Next(&c)
		if err != nil {
			return err
		}
		if !more {
			break
		}
		r.sent(&c)
	}
	if reader.Keeps {
		if err := r.keeps(message); err != nil {
			return err
		}
	}
	return r.Frames.Send(message)
}

// keeps records the keepalives, attaches and detaches in a message.
func (r *recorded) keeps(data []byte) error {
	var (
		reader sessionwire.KeepReader
		k      sessionwire.Keep
	)
	r.mu.Lock()
	defer r.mu.Unlock()
	for reader.Reset(data); ; {
		more, err := reader.Next(&k)
		if err != nil || !more {
			return err
		}
		switch k.Kind {
		case sessionwire.KeepAlive:
			r.alive[k.ID] = time.Now()
			delete(r.alive, k.ID-oldKeepalives)
		case sessionwire.KeepAttach:
			r.kept[k.ID] = k
		case sessionwire.KeepDetach:
			delete(r.kept, k.ID)
		}
	}
}

// oldKeepalives is the number of keepalives that are remembered. A renewal that counts from an
// older one does not prolong anything.
const oldKeepalives = 1 << 14

// told records what a message says about holds that the node keeps alive. Each renewal is a
// Call that starts when the client sent the keepalive from which the renewal counts.
func (r *recorded) told(data []byte) error {
	var (
		reader sessionwire.KeptReader
		told   sessionwire.Kept
	)
	for reader.Reset(data); ; {
		more, err := reader.Next(&told)
		if err != nil || !more {
			return err
		}
		k, ok := r.kept[told.ID]
		if !ok || told.Position > 0 { // part of the answer to a call
			continue
		}
		c := Call{Client: r.client, rate: r.rate, Op: Renew, Kept: true, Key: k.Key, Token: k.Token, Start: r.alive[told.Keepalive]}
		if told.Status != nil {
			delete(r.kept, told.ID)
			// The hold has ended and stays ended, so the answer is as true now as when the owner gave it.
			c.Start = time.Now()
			r.history.end(r.history.beginAt(c), func(c *Call) { c.Err = statusOf(told.Status) })
			continue
		}
		r.history.end(r.history.beginAt(c), func(c *Call) {
			c.safeFor(k.TTL)
			if last, limited := r.history.lasts[grantOf{k.Key, k.Token}]; limited && last.Before(c.SafeUntil) {
				c.SafeUntil = last
			}
		})
	}
}

func (r *recorded) sent(c *sessionwire.Call) {
	r.mu.Lock()
	defer r.mu.Unlock()
	call := Call{Client: r.client, rate: r.rate, Key: c.Key}
	switch c.Kind {
	case sessionwire.CallAcquire:
		call.Op, call.RequestID, call.Mode, call.Slots = Acquire, c.RequestID, c.Mode, c.Slots
	case sessionwire.CallRenew:
		call.Op, call.Token = Renew, c.Token
	case sessionwire.CallRelease:
		call.Op, call.Token = Release, c.Token
	case sessionwire.CallGiveUp:
		call.Op, call.RequestID = GiveUp, c.RequestID
	case sessionwire.CallCancel:
		// The client ignores the answer of a call that it has cancelled.
		if given := r.calls[c.ID]; given != nil {
			delete(r.calls, c.ID)
			r.history.end(given, func(c *Call) { c.Err = context.Canceled })
		}
		return
	}
	r.calls[c.ID] = r.history.begin(call)
}

// Recv implements clienthook.Frames.
func (r *recorded) Recv() ([]byte, error) {
	message, err := r.Frames.Recv()
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		for id, c := range r.calls {
			delete(r.calls, id)
			r.history.end(c, func(c *Call) { c.Err = sharelockv1.FromError(err) })
		}
		return nil, err
	}
	var (
		reader sessionwire.ReplyReader
		reply  sessionwire.Reply
	)
	reader.Reset(message)
	for {
		more, err := reader.Next(&reply)
		if err != nil {
			return nil, err
		}
		if !more {
			break
		}
		if c := r.calls[reply.ID]; c != nil {
			delete(r.calls, reply.ID)
			r.history.end(c, func(c *Call) { c.answered(&reply) })
		}
	}
	if reader.Kept {
		err = r.told(message)
	}
	return message, err
}

// statusOf decodes an encoded status.
func statusOf(b []byte) error {
	var p spb.Status
	if err := proto.Unmarshal(b, &p); err != nil {
		return err
	}
	return sharelockv1.FromError(status.ErrorProto(&p))
}

// answered takes over the answer to a call of a session.
func (c *Call) answered(a *sessionwire.Reply) {
	if a.Status != nil {
		c.Err = statusOf(a.Status)
		return
	}
	switch c.Op {
	case Acquire:
		c.granted(a.Hold)
	case Renew:
		c.safeFor(a.Hold.SafeFor)
	}
}
