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

	e.number(uint64(m.Len()))
	for k := range m.keys.sorted {
		e.bytes(k.name())
		e.number(uint64(k.slots()))
		e.number(uint64(k.held()))
		for c := range k.holds {
			e.number(uint64(c.token))
			e.claim(&m.keys, c)
		}
		e.number(uint64(k.waiters()))
		for w := range k.queue {
			e.claim(&m.keys, w.claim)
		}
	}

	n := 0
	for range m.finished.after(now) {
		n++
	}
	e.number(uint64(n))
	for over := range m.finished.after(now) {
		key, _, request := m.finished.texts.parts(over.text)
		e.bytes(key)
		e.bytes(request)
		e.number(uint64(over.until - now))
	}
	return e.b
}

func (e *encoder) claim(of *keys, c *claim) {
	e.byte(bit(flagShared, c.is(isShared)) | bit(flagOwnID, c.is(isOwnID)) | bit(flagResent, c.is(isResent)))
	if c.text == 0 {
		w := of.more(c)
		e.text(w.client)
		e.text(w.request)
	} else {
		_, client, request := of.texts.parts(c.text)
		e.bytes(client)
		e.bytes(request)
	}
	e.number(uint64(c.ttl()))
	e.metadata(of.meta(c))
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
	m := &Machine{partition: d.number32(), seq: d.number(), last: sharelock.Token(d.number()), keys: newKeys(), finished: newFinished()}
	if m.last != 0 && !validToken(m.last) {
		return nil, fmt.Errorf("token %d out of range", m.last)
	}
	if left := d.span(); left > 0 {
		m.quarantine = now + left
	}
	before := ""
	for n := d.number(); n > 0 && !d.failed; n-- {
		name, err := d.key(m, before)
		if err != nil {
			return nil, err
		}
		before = name
	}
	if err := d.finished(now, m); err != nil {
		return nil, err
	}
	if d.failed || len(d.b) > 0 {
		return nil, fmt.Errorf("bytes missing or left over")
	}
	return m, nil
}

// key reads one key with its claims; before is the one before it.
func (d *decoder) key(m *Machine, before string) (string, error) {
	name, slots := d.text(), d.number32()
	switch {
	case !validKey(name):
		return "", fmt.Errorf("bad key %q", name)
	case name <= before:
		return "", fmt.Errorf("key %q out of order", name)
	}
	k := key{of: &m.keys}
	var last sharelock.Token
	for n := d.number(); n > 0 && !d.failed; n-- {
		token := sharelock.Token(d.number())
		op := d.claim(name, slots)
		switch {
		case token <= last || token > m.last:
			return "", fmt.Errorf("key %q: token %d out of order", name, token)
		case !k.admits(op.Mode):
			return "", fmt.Errorf("key %q: too many holders", name)
		}
		op.Token, last = token, token
		if err := d.add(m, &k, &op); err != nil {
			return "", err
		}
	}
	for n := d.number(); n > 0 && !d.failed; n-- {
		op := d.claim(name, slots)
		if err := d.add(m, &k, &op); err != nil {
			return "", err
		}
		m.waiters++
	}
	if d.failed || k.idle() {
		return "", fmt.Errorf("key %q is cut off or empty", name)
	}
	return name, nil
}

// add makes a claim of a key, and k the key with it.
func (d *decoder) add(m *Machine, k *key, op *Op) error {
	switch {
	case d.failed, !validClient(op.ClientID), !validRequestID(op.RequestID), !validTTL(op.TTL), !validFamily(op.Mode, op.Slots):
		return fmt.Errorf("key %q: bad claim", op.Key)
	case k.find(op.RequestID) != nil:
		return fmt.Errorf("key %q: request id %q twice", op.Key, op.RequestID)
	}
	*k = m.keys.of(m.keys.add(*k, op))
	return nil
}

// claim reads a claim, as the op that makes it.
func (d *decoder) claim(name string, slots uint32) Op {
	flags := d.byte()
	op := Op{Key: name, Slots: slots, ClientID: d.text(), RequestID: d.text(), TTL: d.span()}
	if flags&^byte(flagShared|flagOwnID|flagResent) != 0 {
		d.fail()
	}
	op.flags(flags)
	op.Metadata = d.metadata()
	return op
}

// finished reads the request ids that are over.
func (d *decoder) finished(now time.Duration, m *Machine) error {
	var before time.Duration
	for n := d.number(); n > 0 && !d.failed; n-- {
		key, request, left := d.text(), d.text(), d.span()
		switch {
		case !validKey(key), !validRequestID(request):
			return fmt.Errorf("bad finished request id")
		case left == 0 || left < before || left > keepFinished:
			return fmt.Errorf("finished request id %q: %v left", request, left)
		case m.keys.get(key).find(request) != nil || m.finished.has(key, request):
			return fmt.Errorf("finished request id %q twice", request)
		}
		before = left
		m.finished.add(key, request, now+left)
	}
	return nil
}
