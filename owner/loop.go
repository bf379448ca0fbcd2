package owner

import (
	"runtime"
	"time"

	"github.com/sgkandale/sharelock/owner/machine"
)

// idleWake is the longest that a shard sleeps. Deadlines are compared with a clock that goes on
// while the machine is suspended; timers do not.
const idleWake = time.Second

// run is the loop. Everything in the inbox is handled as one batch, and the answers of a batch
// leave together (A4).
func (sh *shard) run(stop <-chan struct{}) {
	timer := time.NewTimer(idleWake)
	defer timer.Stop()
	armed := false // whether the timer goes off at until
	for {
		select {
		case <-sh.wake:
		case <-timer.C:
			armed = false
		case <-stop:
			sh.turn <- struct{}{}
			sh.close()
			<-sh.turn
			return
		}
		runtime.Gosched()
		sh.turn <- struct{}{}
		if sh.work(true) == 0 && !sh.unfinished() { // nothing has come for a while, or it was done inline
			sh.shrink()
		}
		now := sh.now
		if sh.hasNext && sh.next < now+2*idleWake {
			now = sh.service.clock() // the work may have taken long
		}
		// A timer that goes off too early costs less than setting it again for each batch.
		sleep := sh.sleep(now)
		late := !armed || now+sleep < sh.until
		if late {
			sh.until, armed = now+sleep, true
		}
		<-sh.turn
		if late {
			timer.Reset(sleep)
		}
	}
}

// work handles the items in the inbox and everything that is due, and returns the number of
// items. With chores set it also does a part of the chores. The caller must have the turn, as
// for everything that touches partitions.
func (sh *shard) work(chores bool) int {
	sh.mu.Lock()
	batch := sh.inbox
	sh.inbox, sh.spare = sh.spare[:0], nil
	sh.mu.Unlock()

	sh.now = sh.service.clock()
	for i := range batch {
		sh.handle(sh.now, &batch[i])
		if batch[i].fn != nil && !batch[i].quick {
			sh.now = sh.service.clock() // it may have read a later time
		}
		batch[i] = item{}
	}
	sh.tick(sh.now)
	if chores && len(sh.chores) > 0 {
		sh.chore()
	}
	sh.flush()
	if sh.done > 0 {
		sh.worked.Add(sh.done)
		sh.done = 0
	}
	sh.spare = batch[:0]
	return len(batch)
}

// tick lets every partition do what is due. Copies that are not active only forget finished
// request ids: the TTLs of their locks start afresh with their activation (section 4.5).
func (sh *shard) tick(now time.Duration) {
	if !sh.hasNext || now < sh.next {
		return
	}
	sh.hasNext = false
	left := machine.StepEntries / 2
	for i := range sh.parts {
		p := sh.parts[(sh.ticked+i)%len(sh.parts)]
		if p.m == nil {
			continue
		}
		if left <= 0 {
			// The other partitions are ticked after the next batch.
			sh.ticked = (sh.ticked + i) % len(sh.parts)
			sh.next, sh.hasNext = now, true
			return
		}
		if at, ok := p.m.Next(); ok && at <= now {
			before := p.m.Len()
			sh.observe(p)
			p.m.Tick(now, &sh.out)
			left -= sh.saw(p.m)
			sh.tell(p, "")
			sh.after(p, before)
			continue
		}
		sh.rearm(p)
	}
}

func (sh *shard) rearm(p *partition) {
	if at, ok := p.m.Look(); ok && (!sh.hasNext || at < sh.next) {
		sh.next, sh.hasNext = at, true
	}
}

// sleep returns how long there is nothing to do, as far as is known now.
func (sh *shard) sleep(now time.Duration) time.Duration {
	if sh.unfinished() {
		return 0
	}
	if !sh.hasNext {
		return idleWake
	}
	return min(max(sh.next-now, 0), idleWake)
}

// shrink frees the memory that lists grew to in a burst.
func (sh *shard) shrink() {
	sh.spare = idle(sh.spare) // the two inboxes alternate, so the other one is next
	sh.ready, sh.touched = idle(sh.ready), idle(sh.touched)
	sh.out.Replies, sh.out.Ops, sh.out.Facts = idle(sh.out.Replies), idle(sh.out.Ops), idle(sh.out.Facts)
}

// idleRoom is the largest capacity, in entries, that a list of an idle loop keeps.
const idleRoom = 64

// idle returns an empty list, without memory if it had grown beyond idleRoom.
func idle[T any](list []T) []T {
	if cap(list) > idleRoom {
		return nil
	}
	return list
}

// close answers everything that still waits. The member does not act any more.
func (sh *shard) close() {
	sh.mu.Lock()
	sh.closed = true
	rest := sh.inbox
	sh.inbox = nil
	sh.mu.Unlock()
	for i := range rest {
		if rest[i].fn != nil {
			rest[i].fn(sh)
		} else {
			retry(rest[i].ref, rest[i].req)
		}
	}
	sh.traces.drop()
	for _, p := range sh.parts {
		sh.endRecord(p, sh.epoch)
		sh.silence(p)
	}
	for len(sh.chores) > 0 {
		sh.chore()
	}
	sh.flush()
}
