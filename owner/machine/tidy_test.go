package machine

import (
	"fmt"
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/compact"
	"github.com/sgkandale/sharelock/internal/rules"
)

// What little is left after most has ended is as it was, and in little room, at the
// owner and at a backup.
func TestTidy(t *testing.T) {
	const n, left = 20 * compact.ShrinkFrom, 10
	p, backup := newPlay(t, 10), New(0, 10)
	from := Ref{&listener{}, 1}
	do := func(r Request) {
		t.Helper()
		r.ClientID, r.TTL, r.Send = "c", time.Minute, 1
		p.step(from, r)
		for i := range p.out.Ops {
			if err := backup.Apply(p.now, &p.out.Ops[i]); err != nil {
				t.Fatal(err)
			}
		}
		backup.Tidy()
	}
	for i := range n {
		p.now++
		do(Request{Kind: Acquire, Key: benchKey(i), RequestID: fmt.Sprint("r", i), Metadata: map[string]string{"n": fmt.Sprint(i)}})
	}
	for i := range 2 {
		do(Request{Kind: Acquire, Key: benchKey(i), RequestID: "waiter", Wait: 2 * time.Minute})
	}
	release := func(i int) {
		do(Request{Kind: Release, Key: benchKey(i), Token: sharelock.MakeToken(1, uint32(i+1)), SentOnce: true})
	}
	for i := range n - left {
		release(left + i*7%(n-left)) // in no order
	}
	for name, m := range map[string]*Machine{"owner": p.m, "backup": backup} {
		if err := m.Check(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		wantNoRoom(t, m)
		for i := range left {
			l, _ := m.Lock(p.now, benchKey(i))
			if len(l.Holds) != 1 || l.Holds[0].RequestID != fmt.Sprint("r", i) || l.Holds[0].Metadata["n"] != fmt.Sprint(i) {
				t.Errorf("%s, key %d: %+v", name, i, l.Holds)
			}
			if want := rules.Stretch(time.Minute) - time.Duration(n-1-i); m == p.m && l.Holds[0].ExpiresIn != want {
				t.Errorf("key %d expires in %v, want %v", i, l.Holds[0].ExpiresIn, want)
			}
			if (len(l.Waiters) == 1) != (i < 2) {
				t.Errorf("%s, key %d: %d wait", name, i, len(l.Waiters))
			}
		}
	}
	for i := range left {
		release(i)
	}
	p.check()
}
