package link

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/virtual"
	"github.com/sgkandale/sharelock/mesh/epoch/epochtest"
	"github.com/sgkandale/sharelock/owner"
)

// largeAnswer is as large as a read's may be.
func largeAnswer(send uint32) owner.Answer {
	h := sharelock.Hold{ClientID: strings.Repeat("c", sharelock.MaxClientIDBytes)}
	return owner.Answer{Outcome: owner.Done, Send: send, Lock: &sharelock.KeyState{Holds: slices.Repeat([]sharelock.Hold{h}, sharelock.MaxListed)}}
}

// While the answers on a link take what they may, calls are answered Retry and not handed
// to their owner; acknowledgements and what was answered before come in full, and when the
// member has read, calls are served again.
func TestLinkAnswersAreBounded(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		began := time.Now()
		views, stop := epochtest.New("a", func() time.Duration { return time.Since(began) })
		defer stop()
		if err := views.Offer(epochtest.State(epochtest.View(1, "a"))); err != nil {
			t.Fatal(err)
		}
		views.Now().Service.SetLease(time.Hour)
		synctest.Wait() // until the partitions are active
		from := epochtest.Member("a").Identity.String()
		e := newOwnerEnd(views, from)
		ask := func(send uint32) {
			e.submit(&forward{id: uint64(send), epoch: 1, req: &owner.Request{Kind: owner.Get, Key: "k", Send: send}})
			synctest.Wait()
		}
		last := func() owner.Answer {
			e.mu.Lock()
			defer e.mu.Unlock()
			return e.answers[len(e.answers)-1].answer
		}
		ask(1)
		if a := last(); a.Send != 1 || a.Outcome != owner.Failed {
			t.Fatalf("a call is answered %+v", a)
		}
		sent := uint32(1)
		for !e.full() {
			sent++
			e.Answer(uint64(sent), largeAnswer(sent))
		}
		before := e.bytes
		const refused = 1000
		for range refused {
			sent++
			ask(sent)
			if a := last(); a.Outcome != owner.Retry || a.Send != sent {
				t.Fatalf("with a full queue a call is answered %+v", a)
			}
			e.ack(1, owner.Ack{Partition: 7, Seq: uint64(sent)})
		}
		if grown := e.bytes - before; before > 2*maxAnswers || grown > refused*answerBase {
			t.Errorf("%d bytes wait, %d more after %d calls", before, grown, refused)
		}
		answers, acks := uint32(0), 0
		for frame := e.take(nil); len(frame) > 0; frame = e.take(nil) {
			var m responseFrame
			if err := m.read(frame, from); err != nil {
				t.Fatal(err)
			}
			for i := range m.replies {
				if answers++; m.replies[i].answer.Send != answers {
					t.Fatalf("answer %d comes as number %d", m.replies[i].answer.Send, answers)
				}
			}
			acks += len(m.acks)
		}
		if answers != sent || acks != refused || e.bytes != 0 {
			t.Errorf("%d of %d answers and %d of %d acknowledgements came; %d bytes are left", answers, sent, acks, refused, e.bytes)
		}
		ask(sent + 1)
		if a := last(); a.Outcome != owner.Failed {
			t.Errorf("with room again a call is answered %+v", a)
		}
	})
}
