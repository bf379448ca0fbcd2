package link

import (
	"testing"
	"time"

	"github.com/sgkandale/sharelock/internal/virtual"
	"github.com/sgkandale/sharelock/mesh/epoch/epochtest"
	"github.com/sgkandale/sharelock/owner"
)

// A link measures how long the first of its pings takes to be answered, and tells how much waits to
// be sent both ways.
func TestLinkStats(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		b := epochtest.Member("b")
		l, err := r.To(b)
		if err != nil {
			t.Fatal(err)
		}
		stats := func() Stats { return r.Stats()[b.Identity] }
		time.Sleep(time.Second) // a clock says 0 at no other time
		l.heard(r.cfg.Clock(), true)
		if st := stats(); st != (Stats{}) {
			t.Errorf("before anything was sent: %+v", st)
		}
		l.pinged()
		time.Sleep(3 * time.Millisecond)
		l.pinged() // the answer is to the first
		l.heard(r.cfg.Clock(), false)
		if stats().RTT != 0 {
			t.Error("an answer to something else counts as one to the ping")
		}
		time.Sleep(2 * time.Millisecond)
		l.heard(r.cfg.Clock(), true)
		l.heard(r.cfg.Clock(), true)
		if st := stats(); st.RTT != 5*time.Millisecond || st.Queued != 0 {
			t.Errorf("after a ping: %+v", st)
		}

		l.queue = append(l.queue, forward{req: &owner.Request{Key: "1234", ClientID: "12", RequestID: "1", Metadata: map[string]string{"1": "2"}}})
		l.entries = append(l.entries, owner.Entries{Ops: make([]byte, 100)})
		if got, want := stats().Queued, forwardBase+9+entriesHead+100; got != want {
			t.Errorf("%d bytes are queued, want %d", got, want)
		}
		e := newOwnerEnd(r.cfg.Views, b.Identity.String())
		r.begin(e)
		e.Answer(1, owner.Answer{Outcome: owner.Retry})
		before := stats().Queued
		e.member.Store(&b.Identity)
		e.ack(1, owner.Ack{Seq: 1})
		if got, want := stats().Queued-before, answerBase+ackBytes; got != want {
			t.Errorf("%d bytes of answers are queued, want %d", got, want)
		}
		r.finish(e)
		if got := stats().Queued; got != before {
			t.Errorf("%d bytes are queued when the other link has gone, want %d", got, before)
		}
		r.Close()
	})
}
