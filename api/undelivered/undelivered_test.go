package undelivered

import (
	"testing"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/sessionwire"
)

func acquire(id uint64, request string) sessionwire.Call {
	return sessionwire.Call{ID: id, Kind: sessionwire.CallAcquire, AcquireRequest: sharelock.AcquireRequest{RequestID: request}}
}

// Close returns the grants of the messages that were not sent, but not those of calls with a request id
// of the client's, of other calls, or of calls that failed.
func TestGrants(t *testing.T) {
	var g Grants
	g.Begin([]sessionwire.Call{acquire(1, ""), acquire(2, ""), acquire(3, "own"), acquire(4, ""), acquire(5, ""), {ID: 6, Kind: sessionwire.CallRenew}})
	g.Answered(1, &sharelock.Hold{Key: "sent"}, true, 0)
	g.Take()
	g.Answered(2, &sharelock.Hold{Key: "being sent"}, true, 0)
	g.Sent() // the first message
	g.Take()
	g.Answered(3, &sharelock.Hold{Key: "own"}, true, 0)
	g.Answered(4, &sharelock.Hold{}, false, 0)
	g.Answered(6, &sharelock.Hold{Key: "renewed"}, true, 0)
	if g.Closed() {
		t.Error("closed before Close")
	}
	holds := g.Close()
	if len(holds) != 1 || holds[0].Key != "being sent" {
		t.Errorf("to be released: %v, want only the one being sent", holds)
	}
	if !g.Closed() || !g.Answered(5, &sharelock.Hold{Key: "late"}, true, 0) {
		t.Error("a grant after Close is not to be released")
	}
	if len(g.Close()) > 0 {
		t.Error("a second Close returns grants again")
	}
}

// A grant in a message behind full ones is sent with that message, not before.
func TestGrantsBehindFullMessages(t *testing.T) {
	var g Grants
	g.Begin([]sessionwire.Call{acquire(1, "")})
	g.Answered(1, &sharelock.Hold{Key: "k"}, true, 2)
	for range 2 {
		g.Take()
		g.Sent()
	}
	if holds := g.Close(); len(holds) != 1 {
		t.Errorf("to be released after two messages: %v", holds)
	}
}
