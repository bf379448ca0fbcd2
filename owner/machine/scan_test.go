package machine

import (
	"fmt"
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
)

// A key that is held all the while is found, though its holders come and go while it is
// looked for, and whatever else moves.
func TestScanPassesNoKeyOver(t *testing.T) {
	const n = 5 * StepEntries
	p := newPlay(t, n)
	from := Ref{&listener{}, 1}
	for i := range n {
		p.acquire(from, fmt.Sprint("k", i), "r", 0)
	}
	hand := func(token sharelock.Token, id string) sharelock.Token {
		replies := p.step(from, Request{Kind: Acquire, Key: "handed", ClientID: "c", RequestID: id, TTL: time.Minute, Mode: sharelock.Shared, Send: 1})
		if token != 0 {
			p.step(from, Request{Kind: Release, Key: "handed", Token: token})
		}
		return replies[0].Holds[0].Token
	}
	// It begins where it would be looked at last, and ends behind what was looked at.
	p.step(from, Request{Kind: Release, Key: "k0", Token: sharelock.MakeToken(1, 1)})
	token := hand(0, "first")
	found := map[string]bool{}
	scan, most := p.m.Scan("", func(name []byte) { found[string(name)] = true }), 0
	for steps := 0; ; steps++ {
		p.m.Touched()
		done := scan.Step()
		touched, _ := p.m.Touched()
		if most = max(most, touched); done {
			break
		}
		token = hand(token, fmt.Sprint("r", steps))
		p.step(from, Request{Kind: Release, Key: fmt.Sprint("k", n-1-steps), Token: sharelock.MakeToken(1, uint32(n-steps))})
		p.check()
	}
	if !found["handed"] || most > StepEntries || len(found) < n-10 {
		t.Errorf("%d keys were found, the one that was handed on: %t; a step looked at %d claims", len(found), found["handed"], most)
	}
	if len(p.m.scans) != 0 {
		t.Error("the scan has not ended")
	}
	// Of one client.
	p.step(from, Request{Kind: Acquire, Key: "other", ClientID: "d", RequestID: "r", TTL: time.Minute, Send: 1})
	clear(found)
	for scan := p.m.Scan("d", func(name []byte) { found[string(name)] = true }); !scan.Step(); {
	}
	if len(found) != 1 || !found["other"] {
		t.Errorf("of client d %v was found", found)
	}
}
