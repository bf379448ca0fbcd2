package machine

import (
	"fmt"
	"slices"
	"sort"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/rules"
)

// naive is the machine once more, written to be read: slices, linear scans,
// nothing kept that could be worked out. It predicts every answer except the
// numbers of tokens; a grant is known by its request id instead.
type naive struct {
	now        time.Duration
	keys       map[string]*naiveKey
	over       []naiveOver
	quarantine time.Duration
	max        int
	full       bool

	replies []string
	dirty   map[string]bool
}

type naiveKey struct {
	slots   uint32
	holds   []*naiveClaim
	waiters []*naiveClaim
}

type naiveOver struct {
	key, principal, id string
	until              time.Duration
}

type naiveClaim struct {
	id, client          string
	principal           string
	shared, own, resent bool
	ttl                 time.Duration
	maxHold             time.Duration
	last                time.Duration // of a hold with maxHold: its end, renewed or not
	meta                map[string]string
	ends                time.Duration // of a hold
	ref                 Ref
	newTTL              time.Duration
	limit, seen, since  time.Duration
	settles             time.Duration
	send                uint32
	sentAgain           bool
	token               sharelock.Token // as the machine chose it
}

func newNaive(max int) *naive {
	return &naive{keys: map[string]*naiveKey{}, dirty: map[string]bool{}, max: max}
}

func (c *naiveClaim) period() time.Duration { return min(c.newTTL/3, 2*time.Second) }

// when is the next moment at which something happens to a waiter.
func (c *naiveClaim) when() time.Duration {
	at := c.seen + 3*c.period()
	if c.ref.Caller != nil && c.limit < at {
		at = c.limit
	}
	if c.settles > 0 && c.settles < at {
		at = c.settles
	}
	return at
}

func (n *naive) say(ref Ref, send uint32, outcome Outcome, text string) {
	n.replies = append(n.replies, fmt.Sprintf("%s send=%d outcome=%d %s", ref.Caller.(*listener).name, send, outcome, text))
}

// isOver: an id is over for its principal, and one from before there were principals for
// everybody.
func (n *naive) isOver(key, principal, id string) bool {
	return slices.ContainsFunc(n.over, func(o naiveOver) bool {
		return o.key == key && o.id == id && (o.principal == principal || o.principal == "")
	})
}

func (n *naive) remember(key string, c *naiveClaim) {
	n.rememberFor(90*time.Second, key, c.principal, c.id)
}

// rememberFor: it may be over already, at the end of a claim that was found without a principal.
func (n *naive) rememberFor(d time.Duration, key, principal, id string) {
	n.over = slices.DeleteFunc(n.over, func(o naiveOver) bool { return o.key == key && o.id == id && o.principal == principal })
	n.over = append(n.over, naiveOver{key, principal, id, n.now + d})
}

// label names a claim: two principals may use the same request id.
func (c *naiveClaim) label() string { return label(c.principal, c.id) }

func label(principal, id string) string {
	if principal == "" {
		return id
	}
	return principal + "'s-" + id
}

// belongs: a claim is its principal's, or everybody's; without a principal one may have all.
func (c *naiveClaim) belongs(principal string) bool {
	return c.principal == principal || c.principal == "" || principal == ""
}

func (k *naiveKey) fits(shared bool) bool {
	if k.slots > 1 {
		return len(k.holds) < int(k.slots)
	}
	for _, h := range k.holds {
		if !h.shared || !shared {
			return false
		}
	}
	return true
}

// find finds the claim that an id of a principal means: its own before another that it may have.
func (k *naiveKey) find(principal, id string) (c *naiveClaim, held bool) {
	all := k.of(principal, id)
	for _, c := range all {
		if c.principal == principal {
			return c, slices.Contains(k.holds, c)
		}
	}
	if len(all) == 0 {
		return nil, false
	}
	return all[0], slices.Contains(k.holds, all[0])
}

// of lists the claims of an id that a principal may have.
func (k *naiveKey) of(principal, id string) (all []*naiveClaim) {
	for _, c := range slices.Concat(k.holds, k.waiters) {
		if c.id == id && c.belongs(principal) {
			all = append(all, c)
		}
	}
	return all
}

func without(list []*naiveClaim, c *naiveClaim) []*naiveClaim {
	return slices.DeleteFunc(slices.Clone(list), func(x *naiveClaim) bool { return x == c })
}

func (n *naive) tidy(key string) {
	if k := n.keys[key]; k != nil && len(k.holds)+len(k.waiters) == 0 {
		delete(n.keys, key)
	}
}

func (n *naive) serve(key string) {
	k := n.keys[key]
	if k == nil || n.quarantine > 0 {
		return
	}
	for _, c := range slices.Clone(k.waiters) {
		if c.settles > 0 {
			return
		}
		if !c.ref.Alive() {
			continue
		}
		if !k.fits(c.shared) {
			return
		}
		k.waiters = without(k.waiters, c)
		k.holds = append(k.holds, c)
		c.resent = c.resent || c.sentAgain || n.now-c.since >= c.period()/2
		c.ttl = c.newTTL
		c.grant(n.now)
		n.say(c.ref, c.send, Done, "hold "+c.label())
	}
}

// grant begins a hold.
func (c *naiveClaim) grant(now time.Duration) {
	if c.maxHold > 0 {
		c.last = now + rules.Stretch(c.maxHold)
	}
	c.restart(now)
}

// restart begins its TTL.
func (c *naiveClaim) restart(now time.Duration) {
	c.ends = now + rules.Stretch(c.ttl)
	if c.maxHold > 0 && c.last < c.ends {
		c.ends = c.last
	}
}

func (n *naive) refuse(key string) string {
	if n.quarantine > 0 {
		return sharelock.ErrQuarantined.Error()
	}
	text := sharelock.ErrLockHeld.Error()
	k := n.keys[key]
	if k == nil {
		k = &naiveKey{}
	}
	for _, h := range k.holds[:min(len(k.holds), sharelock.MaxHolders)] {
		text += " " + h.label()
	}
	return text + fmt.Sprintf(" queue=%d", len(k.waiters))
}

func (n *naive) endHold(key string, c *naiveClaim, remember bool) {
	n.keys[key].holds = without(n.keys[key].holds, c)
	n.tidy(key)
	if remember {
		n.remember(key, c)
	}
	n.dirty[key] = true
}

func (n *naive) endWaiter(key string, c *naiveClaim, remember bool) {
	n.keys[key].waiters = without(n.keys[key].waiters, c)
	n.tidy(key)
	if remember {
		n.remember(key, c)
	}
	n.dirty[key] = true
}

func (n *naive) finish() {
	for _, key := range n.sortedKeys() {
		if n.dirty[key] {
			n.serve(key)
		}
	}
	n.dirty = map[string]bool{}
}

func (n *naive) sortedKeys() []string {
	var keys []string
	for key := range n.keys {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	return keys
}

// first finds what is due first of all.
func (n *naive) first() (key string, c *naiveClaim, held bool, at time.Duration) {
	for _, k := range n.sortedKeys() {
		for _, h := range n.keys[k].holds {
			if c == nil || h.ends < at {
				key, c, held, at = k, h, true, h.ends
			}
		}
		for _, w := range n.keys[k].waiters {
			if c == nil || w.when() < at {
				key, c, held, at = k, w, false, w.when()
			}
		}
	}
	return key, c, held, at
}

// next is when something will happen by itself.
func (n *naive) next() (time.Duration, bool) {
	var all []time.Duration
	if _, c, _, at := n.first(); c != nil {
		all = append(all, at)
	}
	if n.quarantine > 0 {
		all = append(all, n.quarantine)
	}
	for _, o := range n.over {
		all = append(all, o.until)
	}
	if len(all) == 0 {
		return 0, false
	}
	return slices.Min(all), true
}

func (n *naive) tick() {
	n.over = slices.DeleteFunc(n.over, func(o naiveOver) bool { return o.until <= n.now })
	if n.quarantine > 0 && n.quarantine <= n.now {
		n.quarantine = 0
		for _, key := range n.sortedKeys() {
			n.serve(key)
		}
	}
	for {
		key, c, held, at := n.first()
		if c == nil || at > n.now {
			break
		}
		switch {
		case held:
			n.endHold(key, c, true)
			n.serve(key)
		case c.settles > 0 && c.settles <= n.now:
			c.settles = 0
			n.dirty[key] = true
		case c.ref.Caller != nil && c.limit <= n.now && c.ref.Alive():
			n.serve(key)
			if slices.Contains(n.keys[key].waiters, c) {
				n.endWaiter(key, c, true)
				n.say(c.ref, c.send, Failed, n.refuse(key))
			}
		case c.ref.Caller != nil && c.limit <= n.now:
			c.ref = Ref{}
			n.dirty[key] = true
		default:
			n.endWaiter(key, c, true)
			if c.ref.Caller != nil {
				n.say(c.ref, c.send, Failed, sharelock.ErrRequestOver.Error())
			}
		}
	}
	n.finish()
}
