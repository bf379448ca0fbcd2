package machine

import (
	"fmt"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/owner/machine/finished"
)

// Bounds bounds what a partition keeps for clients (Q6).
type Bounds struct {
	// Bytes bounds the memory of holds, waiters and finished ids together. Entries bounds the
	// number of holds and waiters, and separately the number of finished ids.
	Bytes, Entries int
}

// DefaultBounds are the bounds of a machine unless SetBounds sets others.
var DefaultBounds = Bounds{Bytes: 16 << 20, Entries: 65536}

// finished returns how many finished ids have room of their own, which is reserved for them, so
// that what is remembered of some clients never keeps others from their locks.
func (b Bounds) finished() int { return min(b.Entries, b.Bytes/4/finishedBytes) }

// What an entry counts besides its texts, roughly as it is in memory and in messages.
const (
	claimBytes    = 128
	metadataBytes = 256
	pairBytes     = 32
	limitBytes    = 128
	finishedBytes = 48
)

// There is always room for the end of a claim: the finished id is smaller than the claim.
const _ = uint(claimBytes - finishedBytes)

// shareOf: the finished ids of one connection may fill this part, an eighth, of their bound.
const shareOf = 8

// shareOfFull is that part once the ids of all connections have filled their bound. Further ids
// take the room of holds.
const shareOfFull = 512

// usage is what a machine keeps for clients.
type usage struct {
	// bytes is what the claims take.
	bytes int
	// shares has the number of finished ids of each connection or principal. Connection 0 is this member itself
	// and is not among them.
	shares map[uint32]int32
}

// SetBounds sets how much the partition may keep.
func (m *Machine) SetBounds(b Bounds) { m.bounds = b }

// SetMaxHold bounds how long a hold that is granted from now on may last, whatever its
// request says; 0 does not.
func (m *Machine) SetMaxHold(d time.Duration) { m.maxHold = d }

// maxHoldOf returns how long the hold of a request may last: the shorter of its own limit and the
// owner's, or 0 if there is neither.
func (m *Machine) maxHoldOf(r *Request) time.Duration {
	if r.MaxHold == 0 || m.maxHold == 0 {
		return max(r.MaxHold, m.maxHold)
	}
	return min(r.MaxHold, m.maxHold)
}

// Bytes returns what the copy takes, as its bound counts it.
func (m *Machine) Bytes() int { return m.used.bytes + m.finished.Len()*finishedBytes }

// Entries returns the number of holds, waiters and finished ids.
func (m *Machine) Entries() int { return m.keys.claims.Used() + m.finished.Len() }

// cost returns what a claim takes with texts (its key, ids and principal) of that many bytes. The
// principal counts for each of its claims, since messages have it with each of them.
func cost(texts int, metadata map[string]string, limited bool) int {
	n := claimBytes + texts
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

// costOf returns what an existing claim takes.
func (s *keyTable) costOf(c *claim) int {
	principal := len(s.principalOf(c))
	if c.text == 0 {
		w := s.extra(c)
		return cost(len(w.contended.name)+len(w.client)+len(w.request)+principal, w.meta, w.maxHold > 0)
	}
	key, client, request := s.texts.Lengths(c.text)
	return cost(key+client+request+principal, s.meta(c), s.maxHold(c) > 0)
}

// room returns an error if the partition, or the share of the request's connection, has no room for
// another claim. There is always room for the claim's end, since the finished id takes less than
// the claim; so releases and expiries, which free room, are never refused. If there are more
// finished ids than their own bound because of that, they use the room of claims.
func (m *Machine) room(r *Request) error {
	if m.keys.claims.Used()+m.beyond() >= m.bounds.Entries {
		return quota(fmt.Sprintf("the key's partition has as many holds and waiters as it may, %d", m.bounds.Entries))
	}
	texts := len(r.Key) + len(r.ClientID) + len(r.RequestID) + len(m.principalOf(r))
	if err := m.bytesRoom(cost(texts, r.Metadata, m.maxHoldOf(r) > 0)); err != nil {
		return err
	}
	return m.shareRoom(m.connOf(r))
}

// beyond returns how many finished ids are beyond their bound, in the room of claims.
func (m *Machine) beyond() int { return max(m.finished.Len()-m.bounds.finished(), 0) }

// bytesRoom returns an error if there is no room for claims that take that many bytes more.
func (m *Machine) bytesRoom(more int) error {
	if most := m.bounds.Bytes - m.bounds.finished()*finishedBytes; m.used.bytes+m.beyond()*finishedBytes+more > most {
		return quota(fmt.Sprintf("the holds and waiters of the key's partition take as much as they may, %d bytes", most))
	}
	return nil
}

// metaRoom returns an error if there is no room for the new metadata of a hold.
func (m *Machine) metaRoom(c *claim, metadata map[string]string) error {
	more := cost(0, metadata, false) - cost(0, m.keys.meta(c), false)
	if more <= 0 {
		return nil
	}
	return m.bytesRoom(more)
}

// fenceRoom returns an error if there is no room for a fence.
func (m *Machine) fenceRoom(r *Request) error {
	if m.finished.Len() >= m.bounds.finished() {
		return quota("the key's partition has no room for a request id that is over")
	}
	return m.shareRoom(m.connOf(r))
}

// shareRoom returns an error if the finished ids of a connection or principal fill its share: an eighth of their
// bound, or very few once the ids of all connections have filled it. What the connection holds may
// still end.
func (m *Machine) shareRoom(conn uint32) error {
	most := m.bounds.finished()
	share := most / shareOf
	if m.finished.Len() >= most {
		share = max(most/shareOfFull, 1)
	}
	if conn == 0 || m.finished.Len() < share || int(m.used.shares[conn]) < share {
		return nil
	}
	return quota(fmt.Sprintf("of the request ids that are over and are remembered for 90 s, this connection or principal fills its share of the key's partition, %d; "+
		"let the node make the request ids, or use more connections", share))
}

func quota(message string) error {
	return &sharelock.Error{Err: sharelock.ErrQuota, Message: message}
}

// remember adds a request id to those that are over.
func (m *Machine) remember(queue int, o finished.ID) {
	m.forgotten(m.finished.Add(queue, o))
	if o.Conn != 0 {
		if m.used.shares == nil {
			m.used.shares = map[uint32]int32{}
		}
		m.used.shares[o.Conn]++
	}
}

// forgotten removes an id from the share of its connection.
func (m *Machine) forgotten(o finished.ID) {
	if o.Conn == 0 {
		return
	}
	if m.used.shares[o.Conn]--; m.used.shares[o.Conn] == 0 {
		delete(m.used.shares, o.Conn)
		if len(m.used.shares) == 0 {
			m.used.shares = nil // a map never gives memory back
		}
	}
}
