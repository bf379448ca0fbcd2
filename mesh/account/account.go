// Package account bounds what all sessions of one client's connection may keep at a node, so that
// it does not matter over how many streams a client spreads its calls and holds. One session alone
// reaches neither of the bounds of holds and acquires before its own: see maxKeptSession in package
// keepalive, and the sessions of package api.
package account

import (
	"sync"
	"sync/atomic"

	"github.com/sgkandale/sharelock"
)

const (
	// maxKeptConn is the most bytes of the holds that are attached.
	maxKeptConn = 256 << 20
	// maxCallsConn is the most bytes of the calls under way with which an acquire is still taken.
	// What ends or renews a lock still has room then, up to maxCallsConnAll.
	maxCallsConn    = 256 << 20
	maxCallsConnAll = 2 * maxCallsConn
)

// Refusals of a connection that has too much.
var (
	ErrKeeps = &sharelock.Error{Err: sharelock.ErrQuota, Message: "the connection has as many holds attached as it may"}
	ErrBusy  = &sharelock.Error{Err: sharelock.ErrQuota, Message: "the connection has as many calls in flight as it may"}
)

// Account is what the sessions of one connection keep. Safe for concurrent use.
type Account struct {
	conn     uint32
	sessions int // guarded by Accounts.mu
	// kept is the bytes of their holds, calls that of their calls under way.
	kept, calls atomic.Int64
}

// Keep counts a hold of so many bytes. It returns false, and counts nothing, if there is no room.
func (a *Account) Keep(bytes int) bool { return take(&a.kept, int64(bytes), maxKeptConn) }

// Drop ends what Keep has begun.
func (a *Account) Drop(bytes int) { a.kept.Add(-int64(bytes)) }

// Begin counts a call of so many bytes. It returns false, and counts nothing, if there is no room.
func (a *Account) Begin(bytes int64, acquire bool) bool {
	if acquire {
		return take(&a.calls, bytes, maxCallsConn)
	}
	return take(&a.calls, bytes, maxCallsConnAll)
}

// End ends what Begin has begun.
func (a *Account) End(bytes int64) { a.calls.Add(-bytes) }

// Used returns the bytes of the holds and of the calls that are counted.
func (a *Account) Used() (kept, calls int64) { return a.kept.Load(), a.calls.Load() }

func take(sum *atomic.Int64, bytes, most int64) bool {
	if sum.Add(bytes) <= most {
		return true
	}
	sum.Add(-bytes)
	return false
}

// Accounts are those of the connections that have sessions. The zero value is ready; it is safe for
// concurrent use.
type Accounts struct {
	mu  sync.Mutex
	all map[uint32]*Account // guarded by mu
}

// Open returns the account of a connection for one session more. Without a connection, 0, a session
// has an account of its own.
func (as *Accounts) Open(conn uint32) *Account {
	if conn == 0 {
		return &Account{}
	}
	as.mu.Lock()
	defer as.mu.Unlock()
	a := as.all[conn]
	if a == nil {
		if as.all == nil {
			as.all = map[uint32]*Account{}
		}
		a = &Account{conn: conn}
		as.all[conn] = a
	}
	a.sessions++
	return a
}

// Close ends what Open has begun.
func (as *Accounts) Close(a *Account) {
	as.mu.Lock()
	defer as.mu.Unlock()
	if a.sessions--; a.sessions == 0 {
		delete(as.all, a.conn)
	}
}

// Len returns how many connections have an account.
func (as *Accounts) Len() int {
	as.mu.Lock()
	defer as.mu.Unlock()
	return len(as.all)
}
