package keepalive

import (
	"context"
	"errors"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/caller"
	"github.com/sgkandale/sharelock/internal/sessionwire"
	"github.com/sgkandale/sharelock/mesh/account"
	"github.com/sgkandale/sharelock/mesh/epoch"
	"github.com/sgkandale/sharelock/owner"
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

// Sink hears what becomes of the holds of a session: see [api.Sink], which has these methods and
// others. It must be comparable.
type Sink interface {
	Renewed(keepalive uint64, ids []uint64)
	Ended(id uint64, err error)
	Forced(key string, token sharelock.Token, reason string)
	Released()
}

// Session is what one session of a client keeps alive, and what its client is to hear of that. Make
// it with [Keeper.Open]. Safe for concurrent use.
type Session struct {
	keeper  *Keeper
	to      Sink
	account *account.Account
	// ctx ends when the session closes.
	ctx context.Context //nolint:containedctx // the lifetime of the session
	// principal is that of the client; empty if this node does not authenticate.
	principal string

	// Everything else is guarded by Keeper.mu.

	holds map[uint64]*kept
	// alive is the newest keepalive. heard is when a keepalive or an attach came last.
	alive uint64
	heard time.Duration
	// bytes is what holds take, see keptBytes.
	bytes int
	news
	closed bool
}

// news is what the client of a session is to hear: renewed are holds by the keepalive that they were
// renewed as of; ended are holds that are kept no more.
type news struct {
	renewed []renewedHolds
	ended   []endedHold
}

// Open begins a session of a principal, whose holds count on an account. ctx ends when it closes.
func (r *Keeper) Open(ctx context.Context, to Sink, principal string, of *account.Account) *Session {
	return &Session{keeper: r, to: to, account: of, ctx: ctx, principal: principal}
}

type renewedHolds struct {
	keepalive uint64
	ids       []uint64
}

type endedHold struct {
	id  uint64
	err error
}

// Keep does what a client has asked for its holds, see api.Session.
func (s *Session) Keep(list []sessionwire.Keep) {
	r := s.keeper
	a := r.cfg.Views.Now()
	limits := r.cfg.Limits() // of a view that is no older
	var (
		refused  []endedHold
		released []*kept
		closing  bool
	)
	now := r.cfg.Clock()
	r.mu.Lock()
	wakes := r.rests
	for i := range list {
		k := &list[i]
		switch k.Kind {
		case sessionwire.KeepAlive:
			s.alive, s.heard = max(s.alive, k.ID), now
		case sessionwire.KeepDetach:
			r.detach(s, k.ID)
		case sessionwire.KeepAttach:
			due, err := r.attach(now, s, a, limits, k)
			if err != nil {
				refused = append(refused, endedHold{k.ID, err})
			}
			wakes = min(wakes, due)
		case sessionwire.KeepClose:
			closing, released = true, append(released, r.drop(s)...)
		}
	}
	early := wakes < r.rests || now > r.rests // it overslept: its timer does not count suspended time
	r.mu.Unlock()
	for _, e := range refused {
		s.to.Ended(e.id, e.err)
	}
	if early {
		r.wake.Set()
	}
	if closing {
		r.cfg.Spawn(func() {
			s.release(released)
			s.to.Released()
		})
	}
}

// releasesAtOnce is how many releases of a session that closes are under way.
const releasesAtOnce = 64

// release releases holds, as long as the session stands. One that cannot be released is left to its
// TTL.
func (s *Session) release(holds []*kept) {
	var (
		work sync.WaitGroup
		next atomic.Int64
	)
	for range min(releasesAtOnce, len(holds)) {
		work.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(holds)) && s.ctx.Err() == nil; i = next.Add(1) - 1 {
				k := holds[i]
				err := s.keeper.cfg.Release(caller.With(s.ctx, caller.Caller{Principal: k.Principal}), k.Key, k.Token)
				if err != nil && !errors.Is(err, sharelock.ErrNotHeld) && !errors.Is(err, sharelock.ErrStaleToken) {
					s.keeper.cfg.Log.Debug("cannot release a hold of a session", "key", k.Key, "token", k.Token, "error", err)
				}
			}
		})
	}
	work.Wait()
}

// attach takes a hold, and returns when it is due: at the end of time if it is not taken. It needs
// mu.
func (r *Keeper) attach(now time.Duration, s *Session, a *epoch.View, limits sharelock.Limits, k *sessionwire.Keep) (time.Duration, error) {
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
	case s.closed:
		return never, nil // nobody hears
	case s.holds[k.ID] != nil:
		return never, sharelock.Invalid("id", "is in use by an attached hold")
	case len(s.holds) >= maxKept, s.bytes+keptBytes(k.Key) > maxKeptSession:
		return never, errTooManyKept
	case r.bytes+keptBytes(k.Key) > maxKeptNode:
		return never, errNodeKeeps
	case !s.account.Keep(keptBytes(k.Key)):
		return never, account.ErrKeeps
	}
	if s.holds == nil {
		s.holds = map[uint64]*kept{}
	}
	h := &kept{
		Renewal: owner.Renewal{Key: k.Key, Token: k.Token, TTL: k.TTL},
		session: s, id: k.ID, partition: a.Partition(k.Key),
	}
	if !k.AnyHold {
		h.Principal = s.principal
	}
	s.holds[k.ID] = h
	s.heard = now
	s.bytes += keptBytes(k.Key)
	r.bytes += keptBytes(k.Key)
	return r.fresh.attached(now, h), nil
}

// detach lets go of a hold. It needs mu.
func (r *Keeper) detach(s *Session, id uint64) {
	k := s.holds[id]
	if k == nil {
		return
	}
	delete(s.holds, id)
	s.bytes -= keptBytes(k.Key)
	s.account.Drop(keptBytes(k.Key))
	r.bytes -= keptBytes(k.Key)
	k.session = nil
	k.remove()
}

// Close lets go of all holds. Nothing is told any more.
func (s *Session) Close() {
	s.keeper.mu.Lock()
	defer s.keeper.mu.Unlock()
	s.keeper.drop(s)
}

// drop lets go of all holds of a session, which takes no more, and returns them. It needs mu.
func (r *Keeper) drop(s *Session) []*kept {
	list := make([]*kept, 0, len(s.holds))
	for id, k := range s.holds {
		list = append(list, k)
		r.detach(s, id)
	}
	s.holds, s.alive, s.heard, s.bytes, s.news, s.closed = nil, 0, 0, 0, news{}, true
	return list
}

// hear tells the client what became of its holds.
func (s *Session) hear(what *news) {
	for _, h := range what.renewed {
		s.to.Renewed(h.keepalive, h.ids)
	}
	for _, e := range what.ended {
		s.to.Ended(e.id, e.err)
	}
}
