package mesh

import (
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/mesh/epoch"
	"github.com/sgkandale/sharelock/owner"
	sharelockv1 "github.com/sgkandale/sharelock/proto/sharelock/v1"
)

// What may be attached. Bytes are counted as keptBytes has them.
const (
	// maxKept is the most holds that one session may have attached, maxKeptSession their
	// bytes.
	maxKept        = 1 << 18
	maxKeptSession = 64 << 20
	// maxKeptNode is the most bytes of all sessions of a node.
	maxKeptNode = 1 << 30
)

// keptBytes is about what a hold takes that is attached.
func keptBytes(key string) int { return 160 + len(key) }

// Refusals of a hold: its session, or this node, has too many attached.
var (
	errTooManyKept = &sharelock.Error{Err: sharelock.ErrQuota, Message: "the session has as many holds attached as it may"}
	errNodeKeeps   = &sharelock.Error{Err: sharelock.ErrQuota, Message: "this node has as many holds attached as it may"}
)

// errSilentClient ends a hold of which its client has let the TTL pass.
var errSilentClient = &sharelock.Error{Err: sharelock.ErrStaleToken, Message: "no keepalive arrived within its TTL"}

// errNoView refuses a hold while this node is in no view.
var errNoView = &sharelock.Error{Err: sharelock.ErrNotReady, Message: "this node is not in a view yet"}

// keeping is what a session keeps alive, and what its client is to hear of that.
// Guarded by renewals.mu.
type keeping struct {
	holds map[uint64]*kept
	// alive is the newest keepalive. heard is when a keepalive or an attach came last.
	alive uint64
	heard time.Duration
	// bytes is what holds take, see keptBytes.
	bytes int
	// renewed are holds by the keepalive that they were renewed as of; ended are holds
	// that are kept no more.
	renewed []renewedHolds
	ended   []endedHold
	closed  bool
}

type renewedHolds struct {
	keepalive uint64
	ids       []uint64
}

type endedHold struct {
	id  uint64
	err error
}

// Keep implements api.Session.
func (s *session) Keep(list []sharelockv1.Keep) {
	n := s.node
	r, a := n.renewals, n.views.Now()
	limits := n.limits() // of a view that is no older
	var (
		refused  []endedHold
		released []*kept
		closing  bool
	)
	now := n.clock()
	r.mu.Lock()
	wakes := r.rests
	for i := range list {
		k := &list[i]
		switch k.Kind {
		case sharelockv1.KeepAlive:
			s.keeping.alive, s.keeping.heard = max(s.keeping.alive, k.ID), now
		case sharelockv1.KeepDetach:
			r.detach(s, k.ID)
		case sharelockv1.KeepAttach:
			due, err := r.attach(now, s, a, limits, k)
			if err != nil {
				refused = append(refused, endedHold{k.ID, err})
			}
			wakes = min(wakes, due)
		case sharelockv1.KeepClose:
			closing, released = true, append(released, r.drop(s)...)
		}
	}
	early := wakes < r.rests || now > r.rests // it overslept: its timer does not count suspended time
	r.mu.Unlock()
	for _, e := range refused {
		s.to.Ended(e.id, e.err)
	}
	if early {
		r.nudge()
	}
	if closing {
		n.tasks.Go(func() {
			s.release(released)
			s.to.Released()
		})
	}
}

// releasesAtOnce is how many releases of a session that closes are under way.
const releasesAtOnce = 64

// release gives holds back, as long as the session stands. One that cannot be is left
// to its TTL.
func (s *session) release(holds []*kept) {
	var (
		work sync.WaitGroup
		next atomic.Int64
	)
	for range min(releasesAtOnce, len(holds)) {
		work.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(holds)) && s.ctx.Err() == nil; i = next.Add(1) - 1 {
				k := holds[i]
				_, err := s.node.one(s.ctx, owner.Request{Kind: owner.Release, Key: k.Key, Token: k.Token})
				if err != nil && !gone(err) {
					s.node.log.Debug("cannot release a hold of a session", "key", k.Key, "token", k.Token, "error", err)
				}
			}
		})
	}
	work.Wait()
}

// attach takes a hold, and gives when it is due: at the end of time if it is not taken.
// It needs mu.
func (r *renewals) attach(now time.Duration, s *session, a *epoch.View, limits sharelock.Limits, k *sharelockv1.Keep) (time.Duration, error) {
	const never = time.Duration(math.MaxInt64)
	err := k.Err
	if err == nil {
		err = sharelock.CheckKey(k.Key)
	}
	if err == nil {
		err = limits.CheckTTL(k.TTL)
	}
	switch {
	case err != nil:
		return never, err
	case a == nil:
		return never, errNoView // Q4
	case s.keeping.closed:
		return never, nil // nobody hears
	case s.keeping.holds[k.ID] != nil:
		return never, sharelock.Invalid("id", "is in use by an attached hold")
	case len(s.keeping.holds) >= maxKept, s.keeping.bytes+keptBytes(k.Key) > maxKeptSession:
		return never, errTooManyKept
	case s.account.kept+keptBytes(k.Key) > maxKeptConn:
		return never, errConnKeeps
	case r.bytes+keptBytes(k.Key) > maxKeptNode:
		return never, errNodeKeeps
	}
	if s.keeping.holds == nil {
		s.keeping.holds = map[uint64]*kept{}
	}
	h := &kept{
		Renewal: owner.Renewal{Key: k.Key, Token: k.Token, TTL: k.TTL},
		session: s, id: k.ID, partition: a.Partition(k.Key),
	}
	s.keeping.holds[k.ID] = h
	s.keeping.heard = now
	s.keeping.bytes += keptBytes(k.Key)
	s.account.kept += keptBytes(k.Key)
	r.bytes += keptBytes(k.Key)
	return r.fresh.attached(now, h), nil
}

// detach lets go of a hold. It needs mu.
func (r *renewals) detach(s *session, id uint64) {
	k := s.keeping.holds[id]
	if k == nil {
		return
	}
	delete(s.keeping.holds, id)
	s.keeping.bytes -= keptBytes(k.Key)
	s.account.kept -= keptBytes(k.Key)
	r.bytes -= keptBytes(k.Key)
	k.session = nil
	k.remove()
}

// close lets go of all holds of a session.
func (r *renewals) close(s *session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.drop(s)
}

// drop lets go of all holds of a session, which takes no more, and gives them. It needs
// mu.
func (r *renewals) drop(s *session) []*kept {
	list := make([]*kept, 0, len(s.keeping.holds))
	for id, k := range s.keeping.holds {
		list = append(list, k)
		r.detach(s, id)
	}
	s.keeping = keeping{closed: true}
	return list
}

// hear tells the client what became of its holds.
func (s *session) hear(what *keeping) {
	for _, h := range what.renewed {
		s.to.Renewed(h.keepalive, h.ids)
	}
	for _, e := range what.ended {
		s.to.Ended(e.id, e.err)
	}
}
