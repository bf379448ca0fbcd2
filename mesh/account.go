package mesh

import (
	"sync"
	"sync/atomic"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/owner"
)

// What all sessions of one connection may keep, so that it does not matter over how many
// streams a client spreads its calls and holds. One session alone reaches neither of the
// first two bounds before its own: see maxKeptSession, and api.session.
const (
	// maxKeptConn is the most bytes of the holds that are attached.
	maxKeptConn = 256 << 20
	// maxCallsConn is the most bytes of the calls under way with which an acquire is still
	// taken. What ends or renews a lock still has room then, up to maxCallsConnAll.
	maxCallsConn    = 256 << 20
	maxCallsConnAll = 2 * maxCallsConn
)

// callBase is about what a call takes that waits in line, beside its texts: the goroutine
// that drives it above all.
const callBase = 4 << 10

// callBytes is about what a call takes.
func callBytes(r *owner.Request) int64 {
	return int64(callBase + len(r.Key) + len(r.ClientID) + len(r.RequestID) + metadataBytes(r.Metadata))
}

func metadataBytes(m map[string]string) (n int) {
	for k, v := range m {
		n += len(k) + len(v)
	}
	return n
}

// Refusals of a connection that has too much.
var (
	errConnKeeps = &sharelock.Error{Err: sharelock.ErrQuota, Message: "the connection has as many holds attached as it may"}
	errConnBusy  = &sharelock.Error{Err: sharelock.ErrQuota, Message: "the connection has as many calls in flight as it may"}
)

// account is what the sessions of one connection keep.
type account struct {
	conn     uint32
	sessions int // guarded by accounts.mu
	// kept is the bytes of their holds, see keptBytes; guarded by renewals.mu.
	kept int
	// calls is the bytes of their calls under way.
	calls atomic.Int64
}

// take counts a call. It returns false, and counts nothing, if there is no room.
func (a *account) take(bytes int64, kind owner.Kind) bool {
	most := int64(maxCallsConnAll)
	if kind == owner.Acquire {
		most = maxCallsConn
	}
	if a.calls.Add(bytes) <= most {
		return true
	}
	a.calls.Add(-bytes)
	return false
}

// accounts are those of the connections that have sessions. The zero value is ready.
type accounts struct {
	mu  sync.Mutex
	all map[uint32]*account // guarded by mu
}

// open returns the account of a connection for one session more. Without a connection, 0,
// a session has an account of its own.
func (as *accounts) open(conn uint32) *account {
	if conn == 0 {
		return &account{}
	}
	as.mu.Lock()
	defer as.mu.Unlock()
	a := as.all[conn]
	if a == nil {
		if as.all == nil {
			as.all = map[uint32]*account{}
		}
		a = &account{conn: conn}
		as.all[conn] = a
	}
	a.sessions++
	return a
}

// close ends what open has begun.
func (as *accounts) close(a *account) {
	as.mu.Lock()
	defer as.mu.Unlock()
	if a.sessions--; a.sessions == 0 {
		delete(as.all, a.conn)
	}
}
