package owner

import (
	"fmt"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/owner/mutant"
)

// copyVersion is the first byte of an encoded copy.
const copyVersion = 1

// Encode is everything that ops have decided, and the quarantine and the finished
// ids with the time they have left. Machines to which the same ops were applied
// have the same encoding but for those times. The encoding is stable.
func (m *Machine) Encode(now time.Duration) []byte {
	e := encoder{b: make([]byte, 0, 32+96*m.Len())}
	e.byte(copyVersion)
	e.number(uint64(m.partition))
	e.number(m.seq)
	e.number(uint64(m.last))
	quarantine := m.Quarantined(now)
	if mutant.On(mutant.QuarantineForgotten) {
		quarantine = 0
	}
	e.number(uint64(quarantine))

	keys := m.sorted(func(*keyState) bool { return true })
	e.number(uint64(len(keys)))
	for _, k := range keys {
		e.text(k.name)
		e.number(uint64(k.slots))
		e.number(uint64(k.held))
		for c := k.holds.first; c != nil; c = k.holds.after(c) {
			e.number(uint64(c.token))
			e.claim(c)
		}
		e.number(uint64(k.waiters()))
		for c := k.firstWaiter(); c != nil; c = k.nextWaiter(c) {
			e.claim(c)
		}
	}

	over := m.finished.oldest
	for over != nil && over.until <= now {
		over = over.next
	}
	n := 0
	for f := over; f != nil; f = f.next {
		n++
	}
	e.number(uint64(n))
	for ; over != nil; over = over.next {
		e.text(over.id.key)
		e.text(over.id.request)
		e.number(uint64(over.until - now))
	}
	return e.b
}

func (e *encoder) claim(c *claim) {
	e.byte(bit(flagShared, c.mode == sharelock.Shared) | bit(flagOwnID, c.ownID) | bit(flagResent, c.resent))
	e.text(c.client)
	e.text(c.request)
	e.number(uint64(c.ttl))
	e.metadata(c.meta())
}

// Decode replaces the copy by an encoded one, counting the times it has left from
// now. The machine is not active then. On an error, which wraps [ErrMalformed],
// it is unchanged.
func (m *Machine) Decode(now time.Duration, data []byte) error {
	d := decoder{b: data}
	fresh, err := d.machine(now)
	switch {
	case err != nil:
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	case fresh.partition != m.partition:
		return fmt.Errorf("%w: it is of partition %d, not %d", ErrMalformed, fresh.partition, m.partition)
	}
	fresh.maxWaiters, fresh.full = m.maxWaiters, m.full
	*m = *fresh
	return nil
}

// machine reads a whole copy.
func (d *decoder) machine(now time.Duration) (*Machine, error) {
	if v := d.byte(); v != copyVersion {
		return nil, fmt.Errorf("unknown version %d", v)
	}
	m := &Machine{partition: d.number32(), seq: d.number(), last: sharelock.Token(d.number())}
	if m.last != 0 && !validToken(m.last) {
		return nil, fmt.Errorf("token %d out of range", m.last)
	}
	if left := d.span(); left > 0 {
		m.quarantine = now + left
	}
	before := ""
	for n := d.number(); n > 0 && !d.failed; n-- {
		k, err := d.key(m)
		switch {
		case err != nil:
			return nil, err
		case k.name <= before:
			return nil, fmt.Errorf("key %q out of order", k.name)
		}
		before = k.name
		m.keys.put(k.name, k)
		m.waiters += k.waiters()
	}
	if err := d.finished(now, m); err != nil {
		return nil, err
	}
	if d.failed || len(d.b) > 0 {
		return nil, fmt.Errorf("bytes missing or left over")
	}
	return m, nil
}

// key reads one key with its claims.
func (d *decoder) key(m *Machine) (*keyState, error) {
	k := &keyState{name: d.text(), slots: d.number32()}
	if !validKey(k.name) {
		return nil, fmt.Errorf("bad key %q", k.name)
	}
	var before sharelock.Token
	for n := d.number(); n > 0 && !d.failed; n-- {
		token := sharelock.Token(d.number())
		c := d.claim()
		switch {
		case token <= before || token > m.last:
			return nil, fmt.Errorf("key %q: token %d out of order", k.name, token)
		case !k.admits(c.mode):
			return nil, fmt.Errorf("key %q: too many holders", k.name)
		}
		c.token, before = token, token
		if err := d.add(k, c); err != nil {
			return nil, err
		}
	}
	for n := d.number(); n > 0 && !d.failed; n-- {
		if err := d.add(k, d.claim()); err != nil {
			return nil, err
		}
	}
	if d.failed || k.size() == 0 {
		return nil, fmt.Errorf("key %q is cut off or empty", k.name)
	}
	return k, nil
}

func (d *decoder) add(k *keyState, c *claim) error {
	switch {
	case d.failed, !validClient(c.client), !validRequestID(c.request), !validTTL(c.ttl), !validFamily(c.mode, k.slots):
		return fmt.Errorf("key %q: bad claim", k.name)
	case k.find(c.request) != nil:
		return fmt.Errorf("key %q: request id %q twice", k.name, c.request)
	}
	k.add(c)
	return nil
}

func (d *decoder) claim() *claim {
	flags := d.byte()
	c := &claim{
		client: d.text(), request: d.text(), ttl: d.span(),
		ownID: flags&flagOwnID != 0, resent: flags&flagResent != 0,
	}
	if flags&flagShared != 0 {
		c.mode = sharelock.Shared
	}
	if flags&^byte(flagShared|flagOwnID|flagResent) != 0 {
		d.fail()
	}
	if meta := d.metadata(); meta != nil {
		c.more = &more{meta: meta}
	}
	return c
}

// finished reads the request ids that are over.
func (d *decoder) finished(now time.Duration, m *Machine) error {
	var before time.Duration
	for n := d.number(); n > 0 && !d.failed; n-- {
		key, request, left := d.text(), d.text(), d.span()
		k, _ := m.keys.get(key)
		switch {
		case !validKey(key), !validRequestID(request):
			return fmt.Errorf("bad finished request id")
		case left == 0 || left < before || left > keepFinished:
			return fmt.Errorf("finished request id %q: %v left", request, left)
		case k.byRequest(request) != nil || m.finished.has(key, request):
			return fmt.Errorf("finished request id %q twice", request)
		}
		before = left
		m.finished.add(key, request, now+left)
	}
	return nil
}
