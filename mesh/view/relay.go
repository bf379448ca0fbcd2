package view

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/sgkandale/sharelock/internal/ringproto"
	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
	"github.com/sgkandale/sharelock/ring"
)

// The reasons why a leader does not relay; match them with errors.Is.
var (
	// ErrNotLeaving: in the leader's view the sender is not a member, or the receiver is not a
	// leaving one.
	ErrNotLeaving = errors.New("view: not a leaving member")
	// ErrParcel: a parcel is too big.
	ErrParcel = errors.New("view: bad parcel")
	// ErrRelayFull: the leader holds as many parcels or bytes as it may.
	ErrRelayFull = errors.New("view: too much data is being relayed")
)

// Bounds of what a leader relays (V6a).
const (
	// MaxParcel is the maximum size of a request or a response in bytes: a piece of a copy, 256
	// KiB, and its description.
	MaxParcel = 256<<10 + 16<<10
	// maxRelayed is the maximum number of bytes that a leader holds, maxParcels that of parcels.
	maxRelayed = 16 << 20
	maxParcels = 4096
	// ParcelsAtOnce is the maximum number of parcels that a member collects with one call.
	ParcelsAtOnce = 16
)

// relay is the leader's mailbox for calls between leaving members and owners that do not reach them
// (V6a). Both sides call the leader, which does not interpret what it passes on. The contents are
// lost with the leadership; the senders ask again.
type relay struct {
	clock func() time.Duration
	// patience returns how long a call of either side waits at most.
	patience func() time.Duration

	mu      sync.Mutex
	parcels map[parcelKey]*parcel  // guarded by mu
	boxes   map[ring.Identity]*box // by receiver; guarded by mu
	size    int                    // bytes in parcels; guarded by mu
}

// parcelKey identifies a parcel; the sender chooses the id.
type parcelKey struct {
	from ring.Identity
	id   uint64
}

// parcel is one relayed call, and its reply when there is one.
type parcel struct {
	key     parcelKey
	message *peerv1.Parcel
	to      *box
	// asked is when its sender last asked for the reply. sent is when it was last passed to its
	// receiver, 0 if it has to be passed.
	asked, sent time.Duration
	reply       *peerv1.Reply
	replied     chan struct{}
}

func (p *parcel) size() int { return len(p.message.GetRequest()) + len(p.reply.GetResponse()) }

// box is the queue of parcels for one leaving member.
type box struct {
	// waiting counts the parcels without a reply.
	waiting int
	// since is when the first of them came, or the last reply if that was later.
	since time.Duration
	// filled is closed and replaced when a parcel comes.
	filled chan struct{}
}

func newRelay(clock, patience func() time.Duration) *relay {
	return &relay{clock: clock, patience: patience, parcels: map[parcelKey]*parcel{}, boxes: map[ring.Identity]*box{}}
}

// send queues a parcel and waits up to patience for the reply; nil means none yet.
func (r *relay) send(ctx context.Context, m *peerv1.Parcel) (*peerv1.Reply, error) {
	if len(m.GetRequest()) > MaxParcel {
		return nil, fmt.Errorf("%w: %d bytes, the most is %d", ErrParcel, len(m.GetRequest()), MaxParcel)
	}
	p, err := r.put(m)
	if err != nil {
		return nil, err
	}
	timer := time.NewTimer(r.patience())
	defer timer.Stop()
	select {
	case <-p.replied:
	case <-timer.C:
	case <-ctx.Done():
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if p.reply != nil && ctx.Err() == nil {
		r.remove(p)
	}
	return p.reply, nil
}

// put returns the parcel that a sender sends again, or queues a new one.
func (r *relay) put(m *peerv1.Parcel) (*parcel, error) {
	key := parcelKey{ringproto.DecodeIdentity(m.GetFrom()), m.GetId()}
	now := r.clock()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forget(now)
	p := r.parcels[key]
	if p == nil {
		if len(r.parcels) >= maxParcels || r.size+len(m.GetRequest()) > maxRelayed {
			return nil, ErrRelayFull
		}
		p = &parcel{key: key, message: m, to: r.box(ringproto.DecodeIdentity(m.GetTo())), replied: make(chan struct{})}
		r.parcels[key] = p
		r.size += p.size()
		if p.to.waiting == 0 {
			p.to.since = now
		}
		p.to.waiting++
		close(p.to.filled)
		p.to.filled = make(chan struct{})
	}
	p.asked = now
	return p, nil
}

// box returns the box of a member, and makes it if there is none. It needs r.mu.
func (r *relay) box(who ring.Identity) *box {
	b := r.boxes[who]
	if b == nil {
		b = &box{filled: make(chan struct{})}
		r.boxes[who] = b
	}
	return b
}

// remove removes a parcel, unless that was done before. It needs r.mu.
func (r *relay) remove(p *parcel) {
	if r.parcels[p.key] != p {
		return
	}
	delete(r.parcels, p.key)
	r.size -= p.size()
	if p.reply == nil {
		p.to.waiting--
	}
}

// forget removes the parcels whose senders no longer ask for the reply. It needs r.mu.
func (r *relay) forget(now time.Duration) {
	for _, p := range r.parcels {
		if now-p.asked > 2*r.patience() {
			r.remove(p)
		}
	}
}

// collect takes a member's replies and returns the parcels for it. If there are none it waits up to
// patience for one.
func (r *relay) collect(ctx context.Context, who ring.Identity, replies []*peerv1.Reply) []*peerv1.Parcel {
	now := r.clock()
	r.mu.Lock()
	for _, reply := range replies {
		r.deliver(now, who, reply)
	}
	r.mu.Unlock()
	timer := time.NewTimer(r.patience())
	defer timer.Stop()
	for {
		list, filled := r.take(who)
		if len(list) > 0 {
			return list
		}
		select {
		case <-filled:
		case <-timer.C:
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}

// deliver stores a member's reply in the parcel that waits for it. It needs r.mu.
func (r *relay) deliver(now time.Duration, who ring.Identity, reply *peerv1.Reply) {
	p := r.parcels[parcelKey{ringproto.DecodeIdentity(reply.GetTo()), reply.GetId()}]
	if p == nil || p.reply != nil || ringproto.DecodeIdentity(p.message.GetTo()) != who || len(reply.GetResponse()) > MaxParcel {
		return
	}
	if r.size+len(reply.GetResponse()) > maxRelayed {
		p.sent = 0 // so that the receiver gets it again; by then there may be room
		return
	}
	r.size += len(reply.GetResponse())
	p.reply = reply
	p.to.waiting--
	if !reply.GetRefused() {
		p.to.since = now
	}
	close(p.replied)
}

// take returns the parcels that a member has not been given yet, or has not replied to within
// patience, and a channel that is closed when another one arrives.
func (r *relay) take(who ring.Identity) (list []*peerv1.Parcel, filled <-chan struct{}) {
	now := r.clock()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forget(now)
	b := r.box(who)
	for _, p := range r.parcels {
		if p.to == b && p.reply == nil && (p.sent == 0 || now-p.sent > r.patience()) && len(list) < ParcelsAtOnce {
			p.sent = max(now, 1)
			list = append(list, p.message)
		}
	}
	return list, b.filled
}

// deaf reports whether parcels have waited for a member's reply for as long as long.
func (r *relay) deaf(now time.Duration, who ring.Identity, long time.Duration) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forget(now)
	b := r.boxes[who]
	return b != nil && b.waiting > 0 && now-b.since >= long
}

// keep removes the boxes of processes that are not in the view.
func (r *relay) keep(view ring.View) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for who, b := range r.boxes {
		if _, in := view.Find(who); in {
			continue
		}
		for _, p := range r.parcels {
			if p.to == b {
				r.remove(p)
			}
		}
		delete(r.boxes, who)
	}
}

// Relay passes a call on to a leaving member and returns the reply, if there is one yet (V6a).
func (l *Leader) Relay(ctx context.Context, m *peerv1.Parcel) (*peerv1.RelayResponse, error) {
	view := l.agree.State().View()
	if to, in := view.Find(ringproto.DecodeIdentity(m.GetTo())); !in || !to.Leaving {
		return nil, fmt.Errorf("%w: %v in view %d", ErrNotLeaving, ringproto.DecodeIdentity(m.GetTo()), view.Epoch)
	}
	if _, in := view.Find(ringproto.DecodeIdentity(m.GetFrom())); !in {
		return nil, fmt.Errorf("%w: its sender %v is not in view %d", ErrNotLeaving, ringproto.DecodeIdentity(m.GetFrom()), view.Epoch)
	}
	reply, err := l.relay.send(ctx, m)
	return &peerv1.RelayResponse{Reply: reply}, err
}

// Collect takes a leaving member's replies and returns what others ask it (V6a).
func (l *Leader) Collect(ctx context.Context, req *peerv1.CollectRequest) (*peerv1.CollectResponse, error) {
	who, view := ringproto.DecodeIdentity(req.GetMember()), l.agree.State().View()
	if m, in := view.Find(who); !in || !m.Leaving {
		return nil, fmt.Errorf("%w: %v in view %d", ErrNotLeaving, who, view.Epoch)
	}
	return &peerv1.CollectResponse{Parcels: l.relay.collect(ctx, who, req.GetReplies())}, nil
}
