package cluster

import (
	"slices"
	"time"

	"github.com/sgkandale/sharelock"
)

// watch checks OneHolder, TokensGrow and OneGrant at every call and answer, so that a run
// stops at the first violation. Its memory does not grow with the history: ids are forgotten
// when they can no longer matter. Guarded by the history's mutex.
type watch struct {
	keys map[string]*watched
	// trouble is the time until which an event may have caused a loss of state. disturbed is
	// set while a disturbance lasts.
	trouble   time.Time
	disturbed bool
	// looked is when old entries were last removed.
	looked time.Time
}

// keptIDs is how long a request id is remembered: longer than anybody sends it (Q2), and
// longer than any wait in a test.
const keptIDs = 5 * time.Minute

// watched is the state of one key.
type watched struct {
	// largest is the largest token that was answered.
	largest sharelock.Token
	ids     map[string]*watchedID
	live    []*belief
	// released holds the tokens whose release was sent, and when. A later answer, to a request
	// that was sent twice, does not make the client believe in them again.
	released map[sharelock.Token]time.Time
	// givenUp holds the request ids that were given up, and when. Later answers to them are
	// ignored in the same way.
	givenUp map[string]time.Time
}

// watchedID is one request id.
type watchedID struct {
	sent  time.Time
	floor sharelock.Token // the largest token answered before the id was first sent
	token sharelock.Token // the token that it was granted
}

func newWatch() *watch { return &watch{keys: map[string]*watched{}} }

func (w *watch) key(name string) *watched {
	k := w.keys[name]
	if k == nil {
		k = &watched{ids: map[string]*watchedID{}, released: map[sharelock.Token]time.Time{}, givenUp: map[string]time.Time{}}
		w.keys[name] = k
	}
	return k
}

// event takes an event of the cluster into account.
func (w *watch) event(e Event) {
	switch e.Kind {
	case Killed:
		w.trouble = e.At.Add(aftermath)
	case Disturbed:
		w.disturbed = true
	case Healed:
		w.disturbed, w.trouble = false, e.At.Add(aftermath)
	}
}

// sent takes a call into account before it is sent.
func (w *watch) sent(c *Call) {
	switch k := w.key(c.Key); c.Op {
	case Acquire:
		if k.ids[c.RequestID] == nil {
			k.ids[c.RequestID] = &watchedID{sent: c.Start, floor: k.largest}
		}
	case GiveUp:
		k.givenUp[c.RequestID] = c.Start
		k.live = slices.DeleteFunc(k.live, func(b *belief) bool { return b.grant.RequestID == c.RequestID })
	case Release, Force, Expire:
		if c.Token != 0 {
			k.released[c.Token] = c.Start
		}
		k.live = slices.DeleteFunc(k.live, func(b *belief) bool {
			over := b.grant.Token == c.Token || c.Op == Force && c.Token == 0
			if over {
				k.released[b.grant.Token] = c.Start
			}
			return over
		})
	}
	w.forget(c.Start)
}

// answered checks an answer. It returns the violated invariant and the calls that contradict each other.
func (w *watch) answered(c *Call) (Invariant, []Call) {
	if !c.OK() {
		return "", nil
	}
	k := w.key(c.Key)
	k.live = slices.DeleteFunc(k.live, func(b *belief) bool { return !c.End.Before(b.until) })
	switch c.Op {
	case Renew:
		for _, b := range k.live {
			if b.grant.Token == c.Token && c.SafeUntil.After(b.until) {
				b.until = c.SafeUntil
			}
		}
		return "", nil
	case Acquire:
		return w.granted(k, c)
	default:
		return "", nil
	}
}

func (w *watch) granted(k *watched, c *Call) (Invariant, []Call) {
	id := k.ids[c.RequestID]
	if id != nil {
		if c.Token <= id.floor {
			return TokensGrow, []Call{*c}
		}
		calm := !w.disturbed && w.trouble.Before(id.sent)
		if id.token != 0 && id.token != c.Token && (calm || id.token.Epoch() == c.Token.Epoch()) {
			return OneGrant, []Call{*c}
		}
		id.token = c.Token
	}
	k.largest = max(k.largest, c.Token)
	_, over := k.released[c.Token]
	if _, gaveUp := k.givenUp[c.RequestID]; over || gaveUp || !c.End.Before(c.SafeUntil) {
		return "", nil
	}
	for _, b := range k.live {
		if b.grant.Token == c.Token {
			if c.SafeUntil.After(b.until) {
				b.until = c.SafeUntil
			}
			return "", nil
		}
	}
	sharing, others := uint32(1), []Call{*c}
	for _, b := range k.live {
		switch o := b.grant; {
		case o.Mode == sharelock.Shared && c.Mode == sharelock.Shared:
		case o.Slots > 1 && o.Slots == c.Slots:
			if others, sharing = append(others, o), sharing+1; sharing > c.Slots {
				return OneHolder, others
			}
		default:
			return OneHolder, []Call{o, *c}
		}
	}
	k.live = append(k.live, &belief{grant: *c, from: c.End, until: c.SafeUntil})
	return "", nil
}

// forget drops the ids that nobody sends any more, and the tokens that no answer can carry.
func (w *watch) forget(now time.Time) {
	if now.Sub(w.looked) < keptIDs {
		return
	}
	w.looked = now
	for _, k := range w.keys {
		for name, id := range k.ids {
			if now.Sub(id.sent) > keptIDs {
				delete(k.ids, name)
			}
		}
		for token, at := range k.released {
			if now.Sub(at) > keptIDs {
				delete(k.released, token)
			}
		}
		for id, at := range k.givenUp {
			if now.Sub(at) > keptIDs {
				delete(k.givenUp, id)
			}
		}
	}
}
