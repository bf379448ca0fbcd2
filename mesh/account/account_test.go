package account

import "testing"

// The size of the attached holds of all sessions of a connection together is bounded.
func TestKeptBytesOfAConnection(t *testing.T) {
	var as Accounts
	a, b, other := as.Open(1), as.Open(1), as.Open(2)
	if a != b || a == other || as.Len() != 2 {
		t.Fatalf("%p and %p of one connection, %p of another; %d accounts", a, b, other, as.Len())
	}
	if !a.Keep(maxKeptConn-1) || !b.Keep(1) {
		t.Error("refused within the bound")
	}
	if b.Keep(1) || !other.Keep(1) {
		t.Error("the bound does not apply to each connection by itself")
	}
	a.Drop(1)
	if !b.Keep(1) {
		t.Error("refused with room again")
	}
	if kept, calls := a.Used(); kept != maxKeptConn || calls != 0 {
		t.Errorf("%d bytes of holds and %d of calls, want %d and none", kept, calls, maxKeptConn)
	}
}

// The size of the calls in flight is bounded, too. Beyond the bound acquires are refused; calls
// that end a lock still have room.
func TestCallBytesOfAConnection(t *testing.T) {
	var as Accounts
	a := as.Open(1)
	if !a.Begin(maxCallsConn, true) || a.Begin(1, true) {
		t.Error("the bound of acquires is wrong")
	}
	if !a.Begin(maxCallsConn, false) || a.Begin(1, false) {
		t.Error("the bound of all calls is wrong")
	}
	a.End(2 * maxCallsConn)
	if !a.Begin(1, true) {
		t.Error("refused with room again")
	}
}

// An account lasts as long as its connection has sessions.
func TestAccountsClose(t *testing.T) {
	var as Accounts
	first, second := as.Open(7), as.Open(7)
	as.Close(first)
	if as.Len() != 1 || as.Open(7) != second {
		t.Error("closed with a session open")
	}
	as.Close(second)
	as.Close(second)
	if as.Len() != 0 {
		t.Errorf("%d accounts are left", as.Len())
	}
	// Without a connection each session has an account of its own.
	if a, b := as.Open(0), as.Open(0); a == b || as.Len() != 0 {
		t.Errorf("%p and %p without a connection, %d accounts", a, b, as.Len())
	}
}
