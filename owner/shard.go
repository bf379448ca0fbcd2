package owner

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/compact"
	"github.com/sgkandale/sharelock/internal/rules"
	"github.com/sgkandale/sharelock/owner/machine"
	"github.com/sgkandale/sharelock/owner/mutant"
	"github.com/sgkandale/sharelock/ring"
)

// maxParked bounds the requests that wait in one partition for its activation;
// beyond it they are answered Retry at once.
const maxParked = 4096

// idleWake is the longest a shard sleeps: deadlines are compared with a clock
// that counts suspended time, which timers do not.
const idleWake = time.Second

// partition is one partition on this member: its copy, and what this member may
// do with it in the current epoch. Only who has its shard's turn touches it.
type partition struct {
	// m is the copy; nil is the empty copy of epoch 0. Not nil exactly when
	// have > 0.
	m *machine.Machine
	// owned: this member is the owner in the current epoch; backup: a backup of
	// owner.
	owned, backup bool
	// broken: the copy does not fit what its owner sends; until the next epoch.
	broken bool
	// active: owned, and the activation of the current epoch is done. A2.
	active bool
	// draining: a chore lets answers leave.
	draining bool
	id       uint32
	// have is the epoch in which m was last synced (section 4.1).
	have uint32
	// parked requests came before the partition was active.
	parked []item
	// log is what the backups have not confirmed; only the owner's is in use.
	log   oplog
	owner ring.Identity
	// staged is what has come of the base of this epoch while pieces are missing; nil
	// before the first.
	staged *staged
}

// item is one entry of a shard's inbox: a request, or a function to run in the
// loop.
type item struct {
	partition uint32
	at        time.Duration
	ref       Ref
	req       *Request
	fn        func()
	// quick: fn goes by the shard's now and reads no later time.
	quick bool
}

// shard is a loop that owns a group of partitions. Everything about them happens
// in this loop, or in its stead (see help), so a partition's requests have one order.
type shard struct {
	service *Service
	// parts are this shard's partitions: the partition p is parts[p/shards].
	parts []*partition
	// epoch is the view this shard has installed; behind Service.cur only while
	// an install is under way.
	epoch uint32
	// release is that of the view.
	release uint32
	// next is no later than the earliest deadline of any partition.
	next    time.Duration
	hasNext bool
	// most is the most entries that any step has touched, mostBytes the most bytes.
	most, mostBytes int
	// ticked is the partition with which tick begins.
	ticked int
	out    machine.Out
	// now is the time that the loop goes by: as of the beginning of the batch, or
	// later.
	now time.Duration
	// chores are what is too much for one step: the loop does a part of them in each of its
	// turns.
	chores []chore
	// ready are answers that may leave at the end of the batch; touched are
	// partitions with ops that were not sent yet.
	ready   []machine.Reply
	touched []*partition
	outbox  outbox
	room    arena

	// turn is full while somebody works: the loop, or who helps. It guards all of the
	// above.
	turn chan struct{}
	// until is when the loop looks again though nobody has roused it; spare is the inbox
	// of before, empty. They need the turn.
	until time.Duration
	spare []item

	// done is what was done in this batch that worked, which is Service.Worked of this
	// shard, does not know yet.
	done   uint64
	worked atomic.Uint64

	// awaits is for whom this shard waited when it was asked last; asked: it was asked
	// again since.
	awaits atomic.Pointer[awaited]
	asked  atomic.Bool

	wake chan struct{}
	mu   sync.Mutex
	// inbox collects whatever arrives while the loop is busy. Guarded by mu.
	inbox []item
	// closed: nothing is taken any more. Guarded by mu.
	closed bool
}

func newShard(s *Service, count int) *shard {
	return &shard{service: s, parts: make([]*partition, 0, count), wake: make(chan struct{}, 1), turn: make(chan struct{}, 1)}
}

// put queues an item for the loop; false when the shard has stopped.
func (sh *shard) put(it item) bool {
	first, ok := sh.queue(it)
	if first {
		sh.rouse()
	}
	return ok
}

// help is put by a caller that holds no lock and has nothing better to do than to see
// the item done: it does the loop's work itself if nobody else is at it. So an item that
// comes alone is done without waking a goroutine, which may cost more than the work. What
// the work calls is called in the caller's goroutine then.
func (sh *shard) help(it item) bool {
	first, ok := sh.queue(it)
	if !first {
		return ok // whoever was first has seen to it
	}
	select {
	case sh.turn <- struct{}{}:
	default:
		sh.rouse()
		return true
	}
	defer crashOnPanic()
	sh.work(false)
	early := sh.hasNext && sh.next < sh.until || sh.unfinished()
	<-sh.turn
	if early {
		sh.rouse()
	}
	return true
}

// queue adds an item to the inbox. first: it was empty, so somebody has to be told.
func (sh *shard) queue(it item) (first, ok bool) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.closed {
		return false, false
	}
	sh.inbox = append(sh.inbox, it)
	return len(sh.inbox) == 1, true
}

// rouse has the loop look.
func (sh *shard) rouse() {
	select {
	case sh.wake <- struct{}{}:
	default:
	}
}

// crashOnPanic ends the process: the caller of whoever defers it may survive panics, and
// half a step of a lock machine must not.
func crashOnPanic() {
	if p := recover(); p != nil {
		stack := debug.Stack()
		go func() { panic(fmt.Sprintf("%v\n\n%s", p, stack)) }()
		select {}
	}
}

// run is the loop. Whatever is waiting is handled as one batch, and the answers
// of a batch leave together (A4).
func (sh *shard) run(stop <-chan struct{}) {
	timer := time.NewTimer(idleWake)
	defer timer.Stop()
	for {
		select {
		case <-sh.wake:
		case <-timer.C:
		case <-stop:
			sh.turn <- struct{}{}
			sh.close()
			<-sh.turn
			return
		}
		runtime.Gosched()
		sh.turn <- struct{}{}
		if sh.work(true) == 0 && !sh.unfinished() { // nothing has come for a while, or others have seen to it
			sh.shrink()
		}
		// Not of sh.now: the work may have taken long.
		now := sh.service.clock()
		sleep := sh.sleep(now)
		sh.until = now + sleep
		<-sh.turn
		timer.Reset(sleep)
	}
}

// work does what waits, and what is due, and says how many items that were. With chores
// it does a part of these, too. It needs the turn, as everything that touches partitions
// does.
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

// shrink gives back what a burst made the lists grow to.
func (sh *shard) shrink() {
	sh.spare = idle(sh.spare) // the inbox of before: the other one has its turn next time
	sh.ready, sh.touched = idle(sh.ready), idle(sh.touched)
	sh.out.Replies, sh.out.Ops = idle(sh.out.Replies), idle(sh.out.Ops)
}

// idleRoom is the most room, in entries, that a list of a loop keeps while nothing
// happens.
const idleRoom = 64

// idle is an empty list that has given back what a burst made it grow to.
func idle[T any](list []T) []T {
	if cap(list) > idleRoom {
		return nil
	}
	return list
}

// close answers everything that still waits: this member acts no more.
func (sh *shard) close() {
	sh.mu.Lock()
	sh.closed = true
	rest := sh.inbox
	sh.inbox = nil
	sh.mu.Unlock()
	for i := range rest {
		if rest[i].fn != nil {
			rest[i].fn()
		} else {
			retry(rest[i].ref, rest[i].req)
		}
	}
	for _, p := range sh.parts {
		sh.silence(p)
	}
	for len(sh.chores) > 0 {
		sh.chore()
	}
	sh.flush()
}

// chore is something that is done in parts. Its step does one, of at most stepEntries,
// and says how many entries that were and whether it was the last.
type chore struct {
	step func() (touched int, done bool)
	// end is called when all is done; nil is nothing.
	end func()
}

// chore does a step's worth of what there is to do in parts.
func (sh *shard) chore() {
	for left := machine.StepEntries / 2; left > 0 && len(sh.chores) > 0; {
		c := sh.chores[0]
		sh.chores[0] = chore{}
		sh.chores = sh.chores[1:]
		touched, done := c.step()
		sh.most = max(sh.most, touched)
		left -= touched + 1
		switch {
		case !done: // the others have their turn
			sh.chores = append(sh.chores, c)
		case c.end != nil:
			c.end()
		}
	}
	if len(sh.chores) == 0 {
		sh.chores = nil
	}
}

// saw notes how much of a machine a step has touched, and returns how many entries.
func (sh *shard) saw(m *machine.Machine) (touched int) {
	touched, size := m.Touched()
	sh.most, sh.mostBytes = max(sh.most, touched), max(sh.mostBytes, size)
	return touched
}

// do has something done in parts.
func (sh *shard) do(c chore) { sh.chores = append(sh.chores, c) }

// unfinished: there is something to do at once.
func (sh *shard) unfinished() bool { return len(sh.chores) > 0 || len(sh.touched) > 0 }

func (sh *shard) handle(now time.Duration, it *item) {
	if it.fn != nil {
		it.fn()
		return
	}
	p := sh.part(it.partition)
	if mutant.On(mutant.LocalFallback) && !p.owned {
		p.owned, p.m = true, machine.New(p.id, sh.service.waiters)
		sh.activate(now, p, sh.epoch, nil)
	}
	switch {
	case !p.owned || now-it.at > rules.MaxAge:
		retry(it.ref, it.req)
	case !p.active || len(p.parked) > 0:
		if len(p.parked) >= maxParked {
			retry(it.ref, it.req)
			return
		}
		p.parked = append(p.parked, *it)
	default:
		sh.step(now, p, it)
	}
}

// step hands one request to the machine. Time spent parked counts against the wait of the
// request. What waits never becomes a try, whose id the machine would not remember (Q2).
func (sh *shard) step(now time.Duration, p *partition, it *item) {
	if it.req.TTL > sh.service.maxTTL {
		// A quarantine would be over before the lock (section 4.3). The node that
		// took the request has checked it against a file that is not the cluster's.
		it.ref.Caller.Answer(it.ref.ID, Answer{Outcome: Failed, Send: it.req.Send, Err: sharelock.Invalid("ttl", "is above the mesh's max_ttl")})
		return
	}
	if it.req.Kind == Acquire && it.req.Wait > 0 {
		if parked := now - it.at; parked > 0 {
			r := *it.req
			r.Wait = max(r.Wait-parked, 1)
			it.req = &r
		}
	}
	if p.log.full() {
		retry(it.ref, it.req)
		return
	}
	limit := sh.service.maxLocks
	p.m.SetFull(limit > 0 && sh.service.locks.Load() >= int64(limit))
	before := p.m.Len()
	if it.req.Kind != RenewMany {
		sh.done++
	}
	from := it.ref
	if it.req.Kind == Force && sh.service.forced != nil {
		from.Caller = forcing{it.ref.Caller, sh.service, it.req.Reason}
	}
	p.m.Step(now, from, it.req, &sh.out)
	sh.saw(p.m)
	sh.after(p, before)
}

// forcing is the caller of a Force. Its answer leaves when what was taken away is decided
// for good, which is when the holders may be told.
type forcing struct {
	Caller
	service *Service
	reason  string
}

// Answer implements Caller.
func (f forcing) Answer(id uint64, a Answer) {
	if a.Outcome == Done && !mutant.On(mutant.HolderNotTold) {
		f.service.forced(a.Holds, f.reason)
	}
	f.Caller.Answer(id, a)
}

// after takes what a machine has decided: ops go to the backups, answers wait
// for their acknowledgements, or leave with the batch if there is nothing to
// wait for.
func (sh *shard) after(p *partition, before int) {
	if len(p.log.backups) == 0 {
		sh.ready = append(sh.ready, sh.out.Replies...)
	} else {
		if len(sh.out.Ops) > 0 {
			p.log.append(sh.now, sh.out.Ops, &sh.room)
			sh.touched = append(sh.touched, p)
		}
		p.log.pending.Push(sh.out.Replies...)
		sh.ready = p.log.ack(0, ring.Identity{}, Ack{}, sh.ready)
		sh.drain(p)
	}
	clear(sh.out.Replies)
	clear(sh.out.Ops)
	sh.out.Replies, sh.out.Ops = sh.out.Replies[:0], sh.out.Ops[:0]
	if p.active {
		sh.count(p.m.Len() - before)
	}
	sh.rearm(p)
	if p.m.CounterHalfUsed() {
		sh.service.refresh.Store(true)
	}
}

// count adds to the number of key entries in active partitions.
func (sh *shard) count(d int) {
	if d != 0 {
		sh.service.locks.Add(int64(d))
	}
}

// tick lets every partition do what is due. In copies that are not active only
// finished request ids run out: the clock of their locks starts again when they
// are activated (section 4.5).
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
			// What is left has its turn after what has come meanwhile.
			sh.ticked = (sh.ticked + i) % len(sh.parts)
			sh.next, sh.hasNext = now, true
			return
		}
		if at, ok := p.m.Next(); ok && at <= now {
			before := p.m.Len()
			p.m.Tick(now, &sh.out)
			left -= sh.saw(p.m)
			sh.after(p, before)
			continue
		}
		sh.rearm(p)
	}
}

// drain has answers leave that one step could not let go at once.
func (sh *shard) drain(p *partition) {
	if p.draining || !p.log.behind() {
		return
	}
	p.draining = true
	epoch := sh.epoch
	sh.do(chore{step: func() (int, bool) {
		if sh.epoch != epoch || !p.active {
			return 0, true
		}
		before := len(sh.ready)
		sh.ready = p.log.ack(0, ring.Identity{}, Ack{}, sh.ready)
		p.draining = p.log.behind()
		return len(sh.ready) - before + 1, !p.draining
	}})
}

func (sh *shard) rearm(p *partition) {
	if at, ok := p.m.Look(); ok && (!sh.hasNext || at < sh.next) {
		sh.next, sh.hasNext = at, true
	}
}

// sleep is how long there is nothing to do, as far as is known now.
func (sh *shard) sleep(now time.Duration) time.Duration {
	if sh.unfinished() {
		return 0
	}
	if !sh.hasNext {
		return idleWake
	}
	return min(max(sh.next-now, 0), idleWake)
}

// flush sends the batch's ops to the backups and lets the answers leave whose
// acknowledgements have come, in the order in which they were decided.
//
// A2: only while the own lease is valid *now*, after the last acknowledgement,
// and the shard's epoch is still the current one. What was decided is not undone:
// the caller's retry finds it.
func (sh *shard) flush() {
	sh.replicate()
	if len(sh.ready) > 0 {
		valid := sh.service.LeaseValid() || mutant.On(mutant.NoLeaseCheck)
		current := sh.epoch == sh.service.cur.Load()
		if pause := sh.service.pause; pause != nil {
			pause(PointAnswer)
		}
		for i := range sh.ready {
			r := &sh.ready[i]
			if current && valid {
				r.Ref.Caller.Answer(r.ID, r.Answer)
			} else {
				r.Ref.Caller.Answer(r.ID, Answer{Outcome: Retry, Send: r.Answer.Send})
			}
		}
		clear(sh.ready)
		sh.ready = sh.ready[:0]
	}
}

// replicate hands the unsent ops of the touched partitions to the links, one
// message for each backup (A4).
func (sh *shard) replicate() {
	if len(sh.touched) == 0 {
		return
	}
	rest := 0
	for _, p := range sh.touched {
		unsent := false
		for i := range p.log.backups {
			r := &p.log.backups[i]
			if e, some := p.log.unsent(p.id, r); some {
				sh.outbox.add(&r.member, e)
			}
			unsent = unsent || r.sent < p.log.last()
		}
		if unsent { // more than one step may send
			sh.touched[rest] = p
			rest++
		}
	}
	clear(sh.touched[rest:])
	sh.touched = sh.touched[:rest]
	for i, m := range sh.outbox.to {
		sh.service.peers.Replicate(m, sh.epoch, sh.outbox.entries[i])
	}
	sh.outbox.empty()
}

// silence drops everything that is pending in a partition; it is answered retry
// (A1).
func (sh *shard) silence(p *partition) {
	if p.active {
		sh.count(-p.m.Len())
	}
	p.active = false
	if !mutant.On(mutant.PendingKept) {
		sh.sendAway(p.log.pending)
		p.log, p.draining = oplog{}, false
	}
	if parked := p.parked; len(parked) > 0 {
		p.parked = nil
		sh.do(chore{step: func() (int, bool) {
			n := min(len(parked), machine.StepEntries/4)
			for i := range parked[:n] {
				retry(parked[i].ref, parked[i].req)
			}
			parked = parked[n:]
			return n, len(parked) == 0
		}})
	}
	if m := p.m; m != nil {
		if m.Detach(); m.Unswept() {
			sh.do(chore{step: func() (int, bool) {
				done := m.Sweep(func(r Ref, send uint32) { r.Caller.Answer(r.ID, Answer{Outcome: Retry, Send: send}) })
				return sh.saw(m), done
			}})
		}
	}
}

// sendAway answers Retry in the place of answers that may not leave any more.
func (sh *shard) sendAway(list compact.Queue[machine.Reply]) {
	if list.Len() == 0 {
		return
	}
	sh.do(chore{step: func() (int, bool) {
		n := min(list.Len(), machine.StepEntries/4)
		for i := range n {
			r := list.At(i)
			r.Ref.Caller.Answer(r.ID, Answer{Outcome: Retry, Send: r.Answer.Send})
		}
		list.Drop(n)
		return n, list.Len() == 0
	}})
}

// install is A1's one step for this shard: what is pending in older epochs is
// dropped, and nothing is active until it is activated in the new one.
func (sh *shard) install(epoch uint32, r *ring.Ring) {
	sh.flush()
	sh.epoch, sh.release = epoch, r.View().Release
	sh.hasNext = false
	for _, p := range sh.parts {
		sh.silence(p)
		owner, _ := r.Owner(p.id)
		p.staged = nil
		p.owner, p.owned = owner.Identity, owner.Identity == sh.service.self
		p.backup, p.broken = r.Position(p.id, sh.service.self) > 0, false
		if mutant.On(mutant.DropEarly) && !p.owned && !p.backup {
			sh.replace(p, nil, 0)
		}
		if p.m != nil {
			sh.rearm(p)
		}
	}
}

// held lists this shard's copies.
func (sh *shard) held(take func(Held)) {
	for _, p := range sh.parts {
		if p.m != nil {
			take(Held{Partition: p.id, Have: p.have, Seq: p.m.Seq()})
		}
	}
}

// replace puts a machine in the place of the partition's copy; nil drops it.
func (sh *shard) replace(p *partition, m *machine.Machine, have uint32) {
	if p.m, p.have = m, have; m != nil {
		m.SetBounds(sh.service.bounds)
		m.SetMaxHold(sh.service.maxHold)
	}
}

// activate starts serving a partition (section 4.5) and works off what was
// parked.
func (sh *shard) activate(now time.Duration, p *partition, epoch uint32, backups []ring.Member) {
	p.have = epoch
	p.log.begin(backups, p.m.Seq())
	if mutant.On(mutant.QuarantineAgain) && p.m.Quarantined(now) > 0 {
		p.m.Quarantine(now, rules.Stretch(sh.service.maxTTL))
	}
	p.m.SetRelease(sh.release)
	p.m.Activate(now, epoch, sh.service.name)
	p.active = true
	sh.count(p.m.Len())
	sh.rearm(p)
	if len(p.parked) > 0 {
		sh.do(chore{step: func() (int, bool) {
			if sh.epoch != epoch || !p.active {
				return 0, true // those that were left have been sent away
			}
			return sh.unpark(p), len(p.parked) == 0
		}})
	}
}

// unpark does some of the requests that came before the partition was active. What comes
// meanwhile waits behind them.
func (sh *shard) unpark(p *partition) (touched int) {
	n := min(len(p.parked), parkedMost)
	for i := range p.parked[:n] {
		it := &p.parked[i]
		switch {
		case it.req.Kind == Acquire && !it.ref.Alive():
			// Nobody is there to take a grant, and the cancel is behind it.
		case sh.now-it.at > rules.MaxAge:
			retry(it.ref, it.req)
		default:
			sh.step(sh.now, p, it)
		}
		p.parked[i] = item{}
	}
	if p.parked = p.parked[n:]; len(p.parked) == 0 {
		p.parked = nil
	}
	return n
}

// parkedMost is how many parked requests are one step.
const parkedMost = 16

func (sh *shard) part(p uint32) *partition {
	return sh.parts[int(p)/len(sh.service.shards)]
}

func retry(ref Ref, r *Request) {
	ref.Caller.Answer(ref.ID, Answer{Outcome: Retry, Send: r.Send})
}
