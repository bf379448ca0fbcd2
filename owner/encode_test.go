package owner

import (
	"math"
	"time"
)

// Encode is the whole copy with its keys in order: machines to which the same ops were
// applied have the same encoding but for the times.
func (m *Machine) Encode(now time.Duration) []byte {
	w := pieceWriter{m: m, now: now, full: math.MaxInt, left: math.MaxInt}
	w.begin()
	for k := range m.keys.sorted {
		for c := range k.holds {
			w.claim(c)
			w.crowd = k.crowd
		}
		for x := range k.queue {
			w.claim(x.claim)
			w.crowd = k.crowd
		}
	}
	for phase := range uint64(2) {
		w.pos = position{phase: recordOver + phase}
		w.overs()
	}
	w.e.Byte(recordEnd)
	w.e.Number(uint64(m.keys.claims.Used()))
	return w.e.Buf
}

// Decode replaces the copy by an encoded one. On an error it is unchanged.
func (m *Machine) Decode(now time.Duration, data []byte) error {
	d := NewDecoder(m.partition, m.maxWaiters)
	if err := d.Feed(now, data); err != nil {
		return err
	}
	fresh, err := d.Machine()
	if err != nil {
		return err
	}
	*m = *fresh
	return nil
}

// pieces is the copy as it travels.
func (m *Machine) pieces(now time.Duration) (all [][]byte) {
	var at []byte
	for last := false; !last; {
		var data []byte
		var err error
		data, at, last, err = m.Piece(now, at, nil)
		if err != nil {
			panic(err)
		}
		all = append(all, data)
	}
	return all
}

// detachAll is Detach with all that it leaves to do.
func (m *Machine) detachAll(fn func(Ref)) {
	m.Detach()
	for !m.Sweep(func(r Ref, _ uint32) { fn(r) }) {
	}
}

// brokeAll is all of Broke.
func (m *Machine) brokeAll(now time.Duration, caller Caller) {
	for upTo := m.BrokeFrom(); upTo > 0; {
		upTo = m.Broke(now, caller, upTo)
	}
}
