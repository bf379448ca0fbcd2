package mesh

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/virtual"
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
		n := loneNode(t)
		from := n.self.String()
		c := &linkCaller{node: n, from: from, wake: make(chan struct{}, 1)}
		call := func(send uint32) {
			c.submit(&linkCall{id: uint64(send), epoch: n.epoch(), req: &owner.Request{Kind: owner.Get, Key: "k", Send: send}})
			synctest.Wait()
		}
		last := func() owner.Answer {
			c.mu.Lock()
			defer c.mu.Unlock()
			return c.answers[len(c.answers)-1].answer
		}
		call(1)
		if a := last(); a.Send != 1 || a.Outcome != owner.Failed {
			t.Fatalf("a call is answered %+v", a)
		}
		sent := uint32(1)
		for !c.full() {
			sent++
			c.Answer(uint64(sent), largeAnswer(sent))
		}
		before := c.bytes
		const refused = 1000
		for range refused {
			sent++
			call(sent)
			if a := last(); a.Outcome != owner.Retry || a.Send != sent {
				t.Fatalf("with a full queue a call is answered %+v", a)
			}
			c.ack(1, owner.Ack{Partition: 7, Seq: uint64(sent)})
		}
		if grown := c.bytes - before; before > 2*maxAnswers || grown > refused*answerBase {
			t.Errorf("%d bytes wait, %d more after %d calls", before, grown, refused)
		}
		answers, acks := uint32(0), 0
		for frame := c.take(nil); len(frame) > 0; frame = c.take(nil) {
			var m linkResponse
			if err := m.read(frame, from); err != nil {
				t.Fatal(err)
			}
			for i := range m.answers {
				if answers++; m.answers[i].answer.Send != answers {
					t.Fatalf("answer %d comes as number %d", m.answers[i].answer.Send, answers)
				}
			}
			acks += len(m.acks)
		}
		if answers != sent || acks != refused || c.bytes != 0 {
			t.Errorf("%d of %d answers and %d of %d acknowledgements came; %d bytes are left", answers, sent, acks, refused, c.bytes)
		}
		call(sent + 1)
		if a := last(); a.Outcome != owner.Failed {
			t.Errorf("with room again a call is answered %+v", a)
		}
	})
}
