package machine

import (
	"slices"

	"github.com/sgkandale/sharelock"
)

// A Scan finds the keys of an active machine that are held or waited for, in parts. A key that is
// held or waited for from beginning to end is found, whatever changes meanwhile. A Detach ends the
// scan.
type Scan struct {
	m *Machine
	// client, if not empty, selects the keys that this client holds or waits for.
	client string
	// found is called for every key, perhaps more than once. It must not keep or change the name.
	found func(name []byte)
	// upTo is the number of the claim to look at next. The highest numbers come first, since claims
	// may move to lower ones. Claims that are created meanwhile are looked at when they are
	// created.
	upTo int
}

// Scan begins a scan; see [Scan].
func (m *Machine) Scan(client string, found func(name []byte)) *Scan {
	s := &Scan{m: m, client: client, found: found, upTo: m.keys.claims.Last()}
	m.scans = append(m.scans, s)
	m.busy = true
	return s
}

// Step looks at one step's worth of claims and reports whether those were the last.
func (s *Scan) Step() (done bool) {
	size := 0
	s.upTo = min(s.upTo, s.m.keys.claims.Last())
	for left := StepEntries; s.upTo > 0 && left > 0 && size < StepBytes-sharelock.MaxKeyBytes; s.upTo-- {
		left--
		s.m.touched++
		if c := s.m.keys.claims.At(uint32(s.upTo)); c.id != 0 {
			size += s.see(c)
		}
	}
	s.m.handled += size
	if s.upTo > 0 {
		return false
	}
	s.m.scans = slices.DeleteFunc(s.m.scans, func(x *Scan) bool { return x == s })
	return true
}

// see calls found with the key of a claim, and returns how many bytes it has looked at.
func (s *Scan) see(c *claim) int {
	keys := &s.m.keys
	if s.client != "" && !keys.isOf(c, s.client) {
		return clientBytes
	}
	name := keys.of(c).name()
	s.found(name)
	return len(name)
}

// clientBytes is about how many bytes it takes to look at a client id.
const clientBytes = 16
