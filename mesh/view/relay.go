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
	// ErrNotLeaving: sender or receiver is not what it must be in the leader's view.
	ErrNotLeaving = errors.New("view: not a leaving member")
	// ErrParcel: a parcel is too big.
	ErrParcel = errors.New("view: bad parcel")
	// ErrRelayFull: the leader holds as much as it may.
	ErrRelayFull = errors.New("view: too much data is being relayed")
)

// Bounds of what a leader relays (V6a).
const (
	// MaxParcel is the most bytes of a request or a response: pieces of copies, 256 KiB,
	// and what names them.
	MaxParcel = 256<<10 + 16<<10
	// maxRelayed is the most bytes that a leader holds, maxParcels the most parcels.
	maxRelayed = 16 << 20
	maxParcels = 4096
	// ParcelsAtOnce is the most parcels that a member collects with one call.
	ParcelsAtOnce = 16
)

// relay is the leader's mailbox: calls between leaving members and owners that do not
// reach them (V6a). Both sides call the leader; it reads nothing of what it passes on.
// What is in it is lost with the leadership, and asked for again.
type relay struct {
	clock func() time.Duration
	// patience is how long a call of either side is kept waiting.
	patience func() time.Duration

	mu     sync.Mutex
	parcel map[parcelKey]*parcel  // guarded by mu
	boxes  map[ring.Identity]*box // by receiver; guarded by mu
	size   int                    // bytes in parcel; guarded by mu
}

// parcelKey names a parcel: its sender chose the id.
type parcelKey struct {
	from ring.Identity
	id   uint64
}

// parcel is one call that somebody waits for.
type parcel struct {
	key     parcelKey
	message *peerv1.Parcel
	to      *box
	// asked is when its sender asked for it last, sent when it was given to its
	// receiver; 0 is not yet.
	asked, sent time.Duration
	reply       *peerv1.Reply
	replied     chan struct{}
}

func (p *parcel) size() int { return len(p.message.GetRequest()) + len(p.reply.GetResponse()) }

// box is what waits for one leaving member.
type box struct {
	// waiting counts the parcels without a reply.
	waiting int
	// since is when the first of them came, or the last reply if that was later.
	since time.Duration
	// filled is closed and replaced when a parcel comes.
	filled chan struct{}
}

func newRelay(clock, patience func() time.Duration) *relay {
	return &relay{clock: clock, patience: patience, parcel: map[parcelKey]*parcel{}, boxes: map[ring.Identity]*box{}}
}

// send passes a parcel on and waits a while for the reply; nil is none yet.
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

// put finds a parcel that is sent again, or takes a new one.
func (r *relay) put(m *peerv1.Parcel) (*parcel, error) {
	key := parcelKey{ringproto.DecodeIdentity(m.GetFrom()), m.GetId()}
	now := r.clock()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forget(now)
	p := r.parcel[key]
	if p == nil {
		if len(r.parcel) >= maxParcels || r.size+len(m.GetRequest()) > maxRelayed {
			return nil, ErrRelayFull
		}
		p = &parcel{key: key, message: m, to: r.box(ringproto.DecodeIdentity(m.GetTo())), replied: make(chan struct{})}
		r.parcel[key] = p
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

// box needs r.mu.
func (r *relay) box(who ring.Identity) *box {
	b := r.boxes[who]
	if b == nil {
		b = &box{filled: make(chan struct{})}
		r.boxes[who] = b
	}
	return b
}

// remove needs r.mu.
func (r *relay) remove(p *parcel) {
	if r.parcel[p.key] != p {
		return
	}
	delete(r.parcel, p.key)
	r.size -= p.size()
	if p.reply == nil {
		p.to.waiting--
	}
}

// forget drops what nobody asks for any more. It needs r.mu.
func (r *relay) forget(now time.Duration) {
	for _, p := range r.parcel {
		if now-p.asked > 2*r.patience() {
			r.remove(p)
		}
	}
}

// collect takes a member's replies, and returns what waits for it; nothing if nothing
// comes for a while.
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

// deliver needs r.mu.
func (r *relay) deliver(now time.Duration, who ring.Identity, reply *peerv1.Reply) {
	p := r.parcel[parcelKey{ringproto.DecodeIdentity(reply.GetTo()), reply.GetId()}]
	if p == nil || p.reply != nil || ringproto.DecodeIdentity(p.message.GetTo()) != who || len(reply.GetResponse()) > MaxParcel {
		return
	}
	if r.size+len(reply.GetResponse()) > maxRelayed {
		p.sent = 0 // it is asked again when there is room
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

// take returns what a member was not given yet, or did not reply to for long, and a
// channel that is closed when there is more.
func (r *relay) take(who ring.Identity) (list []*peerv1.Parcel, filled <-chan struct{}) {
	now := r.clock()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forget(now)
	b := r.box(who)
	for _, p := range r.parcel {
		if p.to == b && p.reply == nil && (p.sent == 0 || now-p.sent > r.patience()) && len(list) < ParcelsAtOnce {
			p.sent = max(now, 1)
			list = append(list, p.message)
		}
	}
	return list, b.filled
}

// deaf reports whether something has waited for a member for so long without a reply.
func (r *relay) deaf(now time.Duration, who ring.Identity, long time.Duration) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forget(now)
	b := r.boxes[who]
	return b != nil && b.waiting > 0 && now-b.since >= long
}

// keep forgets the boxes of processes that are no members any more.
func (r *relay) keep(view ring.View) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for who, b := range r.boxes {
		if _, in := view.Find(who); in {
			continue
		}
		for _, p := range r.parcel {
			if p.to == b {
				r.remove(p)
			}
		}
		delete(r.boxes, who)
	}
}

// Relay passes a call on to a leaving member (V6a).
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
