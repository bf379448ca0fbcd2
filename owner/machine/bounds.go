package machine

import (
	"fmt"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/owner/mutant"
)

// Bounds are how much a partition may keep for clients (Q6).
type Bounds struct {
	// Bytes bounds what its holds, waiters and finished ids take. Entries bounds its holds
	// and waiters, and by itself its finished ids.
	Bytes, Entries int
}

// DefaultBounds are those of a machine that is told no others.
var DefaultBounds = Bounds{Bytes: 16 << 20, Entries: 65536}

// finished is how many finished ids there may be. Their room is theirs alone, so that
// what is remembered of some clients never keeps others from their locks.
func (b Bounds) finished() int { return min(b.Entries, b.Bytes/4/finishedBytes) }

// What an entry takes, roughly as it is in memory and on its way: so much itself, and
// its texts.
const (
	claimBytes    = 128
	metadataBytes = 256
	pairBytes     = 32
	limitBytes    = 128
	finishedBytes = 48
)

// The end of a claim always has room: it is smaller than the claim.
const _ = uint(claimBytes - finishedBytes)

// shareOf is the part of the bound of finished ids that those of one connection may fill.
const shareOf = 8

// shareOfFull is that part once the ids of all have filled their bound: those that come
// then take the room of holds.
const shareOfFull = 512

// usage is what a machine keeps for clients.
type usage struct {
	// bytes are those of the claims.
	bytes int
	// shares are the finished ids of connections, by connection. 0 is not among them: it
	// is this member itself.
	shares map[uint32]int32
}

// SetBounds says how much the partition may keep.
func (m *Machine) SetBounds(b Bounds) { m.bounds = b }

// SetMaxHold bounds how long a hold that is granted from now on may last, whatever its
// request says; 0 does not.
func (m *Machine) SetMaxHold(d time.Duration) { m.maxHold = d }

// maxHoldOf is the longest that the hold of a request may last: its own limit or the
// owner's, the shorter one; 0 if there is neither.
func (m *Machine) maxHoldOf(r *Request) time.Duration {
	if r.MaxHold == 0 || m.maxHold == 0 {
		return max(r.MaxHold, m.maxHold)
	}
	return min(r.MaxHold, m.maxHold)
}

// Bytes is what the copy takes, as its bound counts it.
func (m *Machine) Bytes() int { return m.used.bytes + m.finished.len()*finishedBytes }

// Entries is the number of holds, waiters and finished ids.
func (m *Machine) Entries() int { return m.keys.claims.Used() + m.finished.len() }

// cost is what a claim takes.
func cost(key, client, request int, metadata map[string]string, limited bool) int {
	n := claimBytes + key + client + request
	if limited {
		n += limitBytes
	}
	if len(metadata) > 0 {
		n += metadataBytes
		for k, v := range metadata {
			n += len(k) + len(v) + pairBytes
		}
	}
	return n
}

// costOf is what a claim that is there takes.
func (s *keyTable) costOf(c *claim) int {
	if c.text == 0 {
		w := s.extra(c)
		return cost(len(w.contended.name), len(w.client), len(w.request), w.meta, w.maxHold > 0)
	}
	key, client, request := s.texts.Lengths(c.text)
	return cost(key, client, request, s.meta(c), s.maxHold(c) > 0)
}

// room refuses a claim that the partition has no room for, or its connection. There is
// always room for the claim's end, since the id that is over takes less than the claim; so
// releases and expiries, which free room, are never refused. If ids beyond their own bound
// come of that, it is the claims' room that they are in.
func (m *Machine) room(r *Request) error {
	if mutant.On(mutant.NoBound) {
		return nil
	}
	if m.keys.claims.Used()+m.beyond() >= m.bounds.Entries {
		return quota(fmt.Sprintf("the key's partition has as many holds and waiters as it may, %d", m.bounds.Entries))
	}
	if err := m.bytesRoom(cost(len(r.Key), len(r.ClientID), len(r.RequestID), r.Metadata, m.maxHoldOf(r) > 0)); err != nil {
		return err
	}
	return m.shareRoom(r.Conn)
}

// beyond is how many finished ids are beyond their bound, in the room of claims.
func (m *Machine) beyond() int { return max(m.finished.len()-m.bounds.finished(), 0) }

// bytesRoom refuses claims that take so many bytes more.
func (m *Machine) bytesRoom(more int) error {
	if most := m.bounds.Bytes - m.bounds.finished()*finishedBytes; m.used.bytes+m.beyond()*finishedBytes+more > most {
		return quota(fmt.Sprintf("the holds and waiters of the key's partition take as much as they may, %d bytes", most))
	}
	return nil
}

// metaRoom refuses metadata for a hold that the partition has no room for.
func (m *Machine) metaRoom(c *claim, metadata map[string]string) error {
	more := cost(0, 0, 0, metadata, false) - cost(0, 0, 0, m.keys.meta(c), false)
	if more <= 0 || mutant.On(mutant.NoBound) {
		return nil
	}
	return m.bytesRoom(more)
}

// fenceRoom refuses a fence that there is no room for.
func (m *Machine) fenceRoom(r *Request) error {
	if mutant.On(mutant.NoBound) {
		return nil
	}
	if m.finished.len() >= m.bounds.finished() {
		return quota("the key's partition has no room for a request id that is over")
	}
	return m.shareRoom(r.Conn)
}

// shareRoom refuses more of a connection whose finished ids fill its share: an eighth, or
// hardly any once the ids of all have filled their room. What it holds may still end.
func (m *Machine) shareRoom(conn uint32) error {
	most := m.bounds.finished()
	share := most / shareOf
	if m.finished.len() >= most {
		share = max(most/shareOfFull, 1)
	}
	if conn == 0 || m.finished.len() < share || int(m.used.shares[conn]) < share {
		return nil
	}
	return quota(fmt.Sprintf("of the request ids that are over and are remembered for 90 s, this connection fills its share of the key's partition, %d; "+
		"let the node make the request ids, or use more connections", share))
}

func quota(message string) error {
	return &sharelock.Error{Err: sharelock.ErrQuota, Message: message}
}

// remember adds a request id to those that are over.
func (m *Machine) remember(queue int, o finishedID) {
	m.forgotten(m.finished.add(queue, o))
	if o.conn != 0 {
		if m.used.shares == nil {
			m.used.shares = map[uint32]int32{}
		}
		m.used.shares[o.conn]++
	}
}

// forgotten takes an id out of the share of its connection.
func (m *Machine) forgotten(o finishedID) {
	if o.conn == 0 {
		return
	}
	if m.used.shares[o.conn]--; m.used.shares[o.conn] == 0 {
		delete(m.used.shares, o.conn)
		if len(m.used.shares) == 0 {
			m.used.shares = nil // maps keep the room of their largest moment
		}
	}
}
