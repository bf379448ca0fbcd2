package machine

import "time"

// Decode replaces the copy by an encoded one. On an error it is unchanged.
func (m *Machine) Decode(now time.Duration, data []byte) error {
	d := NewAssembler(m.partition, m.maxWaiters)
	if err := d.Add(now, data); err != nil {
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
