// Package account bounds the memory that all sessions of one client connection may use at a node,
// so that a client cannot evade the bounds by using many streams. A single session reaches its own
// bounds before these: see maxKeptSession in package keepalive, and the sessions of package api.
package account

import (
	"sync"
	"sync/atomic"

	"github.com/sgkandale/sharelock"
)

const (
	// maxKeptConn is the maximum size of the attached holds, in bytes.
	maxKeptConn = 256 << 20
	// maxCallsConn is the maximum size of the calls in flight, in bytes, up to which an acquire is
	// accepted. Calls that end or renew a lock are accepted up to maxCallsConnAll.
	maxCallsConn    = 256 << 20
	maxCallsConnAll = 2 * maxCallsConn
)

// The errors for a connection that has reached a bound.
var (
	ErrKeeps = &sharelock.Error{Err: sharelock.ErrQuota, Message: "the connection has as many holds attached as it may"}
	ErrBusy  = &sharelock.Error{Err: sharelock.ErrQuota, Message: "the connection has as many calls in flight as it may"}
)

// Account counts what the sessions of one connection use. It is safe for concurrent use.
type Account struct {
	conn     uint32
	sessions int // guarded by Accounts.mu
	// kept is the size of their attached holds, calls that of their calls in flight, in bytes.
	kept, calls atomic.Int64
}

// Keep counts a hold of the given size. It returns false, and counts nothing, if there is no room.
func (a *Account) Keep(bytes int) bool { return take(&a.kept, int64(bytes), maxKeptConn) }

// Drop undoes Keep.
func (a *Account) Drop(bytes int) { a.kept.Add(-int64(bytes)) }

// Begin counts a call of the given size. It returns false, and counts nothing, if there is no room.
func (a *Account) Begin(bytes int64, acquire bool) bool {
	if acquire {
		return take(&a.calls, bytes, maxCallsConn)
	}
	return take(&a.calls, bytes, maxCallsConnAll)
}

// End undoes Begin.
func (a *Account) End(bytes int64) { a.calls.Add(-bytes) }

// Used returns the sizes of the counted holds and calls, in bytes.
func (a *Account) Used() (kept, calls int64) { return a.kept.Load(), a.calls.Load() }

func take(sum *atomic.Int64, bytes, most int64) bool {
	if sum.Add(bytes) <= most {
		return true
	}
	sum.Add(-bytes)
	return false
}

// Accounts holds the accounts of the connections that have sessions. The zero value is ready. It is
// safe for concurrent use.
type Accounts struct {
	mu  sync.Mutex
	all map[uint32]*Account // guarded by mu
}

// Open returns the account of a connection for one more session. If conn is 0, which means none,
// the session gets an account of its own.
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

// Close undoes Open.
func (as *Accounts) Close(a *Account) {
	as.mu.Lock()
	defer as.mu.Unlock()
	if a.sessions--; a.sessions == 0 {
		delete(as.all, a.conn)
	}
}

// Len returns the number of connections that have an account.
func (as *Accounts) Len() int {
	as.mu.Lock()
	defer as.mu.Unlock()
	return len(as.all)
}
