package view

import (
	"fmt"
	"math/bits"
	"os"
	"slices"
	"strings"
	"testing"
)

// This file searches all orders of stops, kills, starts, elections and single messages of a few
// processes, with the rules for seats (V1) and stops (V7) as electorate implements them.
//
// The leader may have heard recently from a process that has just died, and voters may not answer
// when it asks for their votes.
//
// A process's log is reduced to its last entry: the seats after it, and its rank among all entries.
// An entry of a later leader ranks higher, so ranks compare as Raft compares logs. A leader that
// can commit decides views at once, and the members learn of them at once.

const maxProcs = 6

type mask uint8

func (m mask) has(i int) bool        { return m&(1<<i) != 0 }
func (m mask) with(i int) mask       { return m | 1<<i }
func (m mask) without(i int) mask    { return m &^ (1 << i) }
func (m mask) count() int            { return bits.OnesCount8(uint8(m)) }
func (m mask) majority(of mask) bool { return (m & of).count() >= of.count()/2+1 }

// entry is the last entry of a log.
type entry struct {
	rank           int8
	voters, others mask
}

// world is one state of the search. It is a value and comparable.
type world struct {
	logs      [maxProcs]entry
	committed entry
	leader    int8 // -1 means none
	// up are running; members are in the view, and marked are the marked ones among them; told were
	// told to stop; waiting have left the view and ask to be let go; gone were let go by this
	// leader.
	up, members, marked, told, waiting, gone mask
	// lost have no directory any more; forGood give up their seats when they stop.
	lost, forGood mask
	closing       bool
	// The numbers of faults that may still happen.
	stops, kills, starts int8
	killed               bool
}

// instance is one search.
type instance struct {
	name                 string
	procs                int
	voters, members      mask
	lost, forGood        mask // directories that are lost; processes without one
	stops, kills, starts int8
	// accepted are the problems that kills may lead to; without kills none is accepted.
	accepted map[string]bool
}

func (in instance) first() world {
	w := world{leader: 0, up: in.members, members: in.members, stops: in.stops, kills: in.kills, starts: in.starts, lost: in.lost, forGood: in.forGood}
	e := entry{rank: 1, voters: in.voters}
	for i := range in.procs {
		if in.voters.has(i) {
			w.logs[i] = e
		}
	}
	w.committed = e
	return w
}

func procName(i int) string { return string(rune('a' + i)) }

func (m mask) names() (ids []string) {
	for i := range maxProcs {
		if m.has(i) {
			ids = append(ids, procName(i))
		}
	}
	return ids
}

func (w world) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "leader %d up %v members %v marked %v told %v waiting %v gone %v committed %v/%d\n", w.leader, w.up.names(), w.members.names(),
		w.marked.names(), w.told.names(), w.waiting.names(), w.gone.names(), w.committed.voters.names(), w.committed.rank)
	for i, e := range w.logs {
		if e.rank > 0 {
			fmt.Fprintf(&b, "   %s: %d %v +%v\n", procName(i), e.rank, e.voters.names(), e.others.names())
		}
	}
	return b.String()
}

// electable reports whether a process could win an election among those that are up.
func (w world) electable(i int, up mask) bool {
	own := w.logs[i]
	if !up.has(i) || !own.voters.has(i) {
		return false
	}
	var votes mask
	for q := range maxProcs {
		if up.has(q) && w.logs[q].rank <= own.rank {
			votes = votes.with(q)
		}
	}
	return votes.majority(own.voters)
}

func (w world) anyElectable(up mask) bool {
	for i := range maxProcs {
		if w.electable(i, up) {
			return true
		}
	}
	return false
}

// top is the highest rank of any entry.
func (w world) top() (top int8) {
	for _, e := range w.logs {
		top = max(top, e.rank)
	}
	return max(top, w.committed.rank)
}

// normal returns w with ranks without gaps, so that endless histories have few states.
func (w world) normal() world {
	var used [128]bool
	used[w.committed.rank] = true
	for _, e := range w.logs {
		used[e.rank] = true
	}
	var to [128]int8
	next := int8(0)
	for r := 1; r < len(used); r++ {
		if used[r] {
			next++
			to[r] = next
		}
	}
	for i := range w.logs {
		w.logs[i].rank = to[w.logs[i].rank]
	}
	w.committed.rank = to[w.committed.rank]
	return w
}

// underway reports whether the leader's last entry is not committed.
func (w world) underway() bool { return w.logs[w.leader] != w.committed }

// quorate reports whether the leader can commit.
func (w world) quorate() bool {
	return w.leader >= 0 && w.up.majority(w.logs[w.leader].voters)
}

func (w *world) commit() {
	if w.leader < 0 {
		return
	}
	l := w.logs[w.leader]
	var have mask
	for i := range maxProcs {
		if w.logs[i] == l {
			have = have.with(i)
		}
	}
	if l.rank > w.committed.rank && have.majority(l.voters) {
		w.committed = l
	}
}

func (w *world) elect(i int) {
	w.leader, w.gone, w.closing = int8(i), 0, false
	w.logs[i].rank = w.top() + 1
	w.commit()
}

func (w *world) down(i int) {
	w.up, w.told, w.waiting = w.up.without(i), w.told.without(i), w.waiting.without(i)
	if int(w.leader) == i {
		w.leader = -1
	}
}

// sight is what makes a leader's knowledge differ from the world. The processes in heard have died,
// but were heard from recently. Those in silent
// are voters that live, but do not reach the leader. The voters in
// deaf do not answer when they are asked for their votes.
type sight struct{ heard, silent, deaf mask }

// electorate returns what the leader sees.
func (w world) electorate(s sight) electorate {
	l := w.logs[w.leader]
	e := electorate{
		confirmed: set((l.voters & w.up &^ w.gone &^ s.deaf).names()),
		self:      procName(int(w.leader)), closing: w.closing, live: set(((w.up&^s.silent | s.heard) &^ w.gone).names()), ready: map[string]bool{},
		stopping: set(w.told.names()), forGood: set((w.told & w.forGood).names()),
	}
	for i := range maxProcs {
		switch id := procName(i); {
		case l.voters.has(i):
			e.seats = append(e.seats, Seat{ID: id, Voter: true})
		case l.others.has(i):
			e.seats = append(e.seats, Seat{ID: id})
			e.ready[id] = w.up.has(i) && w.logs[i] == l
		}
	}
	e.stay, e.leaving = (w.members &^ w.marked).names(), w.marked.names()
	e.waiting = (w.waiting &^ w.gone).names()
	e.joiners = w.up&^w.members&^w.told&^w.gone != 0
	return e
}

// step is one transition.
type step struct {
	what  string
	after world
}

// problem is a property that does not hold.
type problem struct{ property, what string }

// faults returns the steps that may happen but need not, and the properties that do not hold after
// them.
func (w world) faults(in instance) (steps []step, bad []problem) {
	if w.leader >= 0 && w.quorate() && !w.closing && !w.underway() {
		look := func(s sight) {
			more, worse := w.decide(in, s)
			steps, bad = append(steps, more...), append(bad, worse...)
		}
		look(sight{deaf: ^mask(0)})
		for i := range in.procs {
			one := mask(0).with(i)
			if w.up.has(i) {
				look(sight{deaf: one})
			}
			if !w.up.has(i) || !w.logs[w.leader].voters.has(i) || i == int(w.leader) {
				continue
			}
			look(sight{silent: one})
			for j := range in.procs {
				if w.killed && !w.up.has(j) {
					look(sight{heard: mask(0).with(j), silent: one})
				}
			}
		}
	}
	for i := range in.procs {
		if w.stops > 0 && w.up.has(i) && w.members.has(i) && !w.told.has(i) {
			n := w
			n.stops--
			n.told = n.told.with(i)
			steps = append(steps, step{"tell " + procName(i), n})
		}
		if w.kills > 0 && w.up.has(i) {
			n := w
			n.kills, n.killed = n.kills-1, true
			n.down(i)
			steps = append(steps, step{"kill " + procName(i), n})
		}
		if w.starts > 0 && !w.up.has(i) && !w.lost.has(i) && !w.members.has(i) {
			n := w
			n.starts--
			n.up, n.gone = n.up.with(i), n.gone.without(i)
			steps = append(steps, step{"start " + procName(i), n})
		}
	}
	return steps, bad
}

// work returns the steps that will be taken if nothing else happens, and the properties that do not
// hold.
func (w world) work(in instance) (steps []step, bad []problem) {
	add := func(what string, n world) { steps = append(steps, step{what, n.normal()}) }
	if w.leader < 0 {
		for i := range in.procs {
			if w.electable(i, w.up) {
				if w.logs[i].rank < w.committed.rank {
					bad = append(bad, problem{"TWO", "elect " + procName(i)})
				}
				n := w
				n.elect(i)
				add("elect "+procName(i), n)
			}
		}
		if len(steps) == 0 {
			if w.up.majority(w.committed.voters) {
				bad = append(bad, problem{"MAJORITY", "nobody can be elected"})
			}
			// V7: a process that finds no leader stops, unless it is one of several members.
			for i := range in.procs {
				if w.up.has(i) && w.told.has(i) && (!w.members.has(i) || w.members.count() == 1) {
					n := w
					n.down(i)
					n.members = n.members.without(i)
					add("leaderless "+procName(i), n)
				}
			}
		}
		return steps, bad
	}
	if !w.quorate() && !w.closing {
		n := w
		n.leader = -1
		add("step down", n)
		return steps, bad
	}
	l := w.logs[w.leader]
	for q := range in.procs {
		if w.up.has(q) && (l.voters | l.others).has(q) && w.logs[q] != l {
			n := w
			n.logs[q] = l
			n.commit()
			add("replicate "+procName(q), n)
		}
	}
	if w.closing {
		return append(steps, w.close(in)...), bad
	}
	if w.underway() {
		return steps, bad
	}
	// Views.
	if all := w.members &^ w.told; all == 0 && w.members != 0 && w.told.has(int(w.leader)) {
		n := w
		n.closing = true
		add("close", n)
		return steps, bad
	}
	for i := range in.procs {
		n := w
		switch {
		case w.up.has(i) && !w.members.has(i) && !w.told.has(i) && !w.gone.has(i):
			n.members = n.members.with(i)
			add("join "+procName(i), n)
		case !w.up.has(i) && w.members.has(i) && (w.members&^w.marked).without(i) != 0:
			n.members, n.marked = n.members.without(i), n.marked.without(i)
			add("drop "+procName(i), n)
		case w.told.has(i) && w.members.has(i) && !w.marked.has(i) && (w.members&^w.marked).without(i) != 0:
			n.marked = n.marked.with(i)
			add("mark "+procName(i), n)
		case w.marked.has(i) && w.up.has(i):
			n.members, n.marked, n.waiting = n.members.without(i), n.marked.without(i), n.waiting.with(i)
			add("done "+procName(i), n)
		}
	}
	more, worse := w.decide(in, sight{})
	return append(steps, more...), append(bad, worse...)
}

// close returns the steps of a leader all of whose members were told to stop.
func (w world) close(in instance) (steps []step) {
	others := (w.told & w.up).without(int(w.leader))
	for i := range in.procs {
		if others.has(i) {
			n := w
			n.down(i)
			steps = append(steps, step{"dismiss " + procName(i), n.normal()})
		}
	}
	if others == 0 {
		n := w
		n.down(int(w.leader))
		steps = append(steps, step{"leader stops", n.normal()})
	}
	return steps
}

// decide returns what keepVoters does next.
func (w world) decide(in instance, s sight) (steps []step, bad []problem) {
	e := w.electorate(s)
	c := e.next()
	if heir := e.heir(); c.kind == changeNone && heir != "" && e.marked(e.self) {
		c = Change{changeTransfer, heir}
	}
	if c.kind != changeNone {
		n := w
		i := int(c.id[0] - 'a')
		l := &n.logs[w.leader]
		switch c.kind {
		case changeTransfer:
			if !w.electable(i, w.up) {
				return nil, nil // tried again
			}
			n.elect(i)
			return []step{{c.String(), n.normal()}}, nil
		case changeStage:
			l.others = l.others.with(i)
		case changePromote:
			l.others, l.voters = l.others.without(i), l.voters.with(i)
		case changeDemote:
			l.others, l.voters = l.others.with(i), l.voters.without(i)
		case changeRemove:
			l.others = l.others.without(i)
		}
		l.rank = n.top() + 1
		if !w.up.majority(l.voters) {
			bad = append(bad, problem{"MARGIN", c.String()})
		}
		n.commit()
		return []step{{c.String(), n.normal()}}, bad
	}
	for _, id := range e.waiting {
		if id == e.self && len(e.waiting) > 1 {
			continue
		}
		i := int(id[0] - 'a')
		ok, _, _ := e.release(id)
		for q := range in.procs {
			if w.committed.voters.has(i) && q != i && w.committed.voters.has(q) && (w.up &^ w.gone).has(q) && w.logs[q] != w.committed {
				ok = false // settled
			}
		}
		if !ok {
			continue
		}
		n := w
		n.gone = n.gone.with(i)
		n.down(i)
		if w.leader < 0 || int(w.leader) == i {
			n.gone = 0
		}
		rest := (w.up &^ w.gone).without(i)
		if w.committed.voters.has(i) && !rest.majority(w.committed.voters) {
			if spare := rest &^ w.told &^ w.committed.voters; spare != 0 {
				bad = append(bad, problem{"CHOICE", fmt.Sprintf("%s goes, %v could take a seat", id, spare.names())})
			}
			if k := w.committed.voters.count(); k > keptSeats && w.up.majority(w.committed.voters) && (w.committed.voters&^w.up).count() >= k-keptSeats {
				bad = append(bad, problem{"SHRINK", id + " goes"})
			}
		}
		return []step{{"let go " + id, n.normal()}}, bad
	}
	return nil, nil
}

// search visits every state and returns the number of states.
func (in instance) search(t *testing.T) int {
	type origin struct {
		from world
		what string
	}
	start := in.first()
	seen := map[world]origin{start: {}}
	settled := map[world]bool{}
	queue := []world{start}
	fail := func(w world, p problem) {
		t.Helper()
		if w.killed && in.accepted[p.property] {
			return
		}
		var trace []string
		for at := w; at != start; {
			o := seen[at]
			trace = append(trace, o.what)
			at = o.from
		}
		var b strings.Builder
		for _, step := range slices.Backward(trace) {
			fmt.Fprintf(&b, "  %s\n", step)
		}
		t.Fatalf("%s: %s: %s after\n%s%v", in.name, p.property, p.what, b.String(), w)
	}
	for len(queue) > 0 {
		w := queue[0]
		queue = queue[1:]
		steps, bad := w.work(in)
		faults, worse := w.faults(in)
		for _, p := range append(bad, worse...) {
			fail(w, p)
		}
		if len(steps) == 0 && w.told&w.up != 0 {
			fail(w, problem{"HANG", fmt.Sprintf("%v wait for ever", (w.told & w.up).names())})
		}
		if !w.settles(in, settled) {
			fail(w, problem{"HANG", "it goes round"})
		}
		if w.up == 0 && !w.killed {
			if p, ok := w.forms(in); !ok {
				fail(w, p)
			}
		}
		for _, s := range append(steps, faults...) {
			if _, known := seen[s.after]; !known {
				seen[s.after] = origin{w, s.what}
				queue = append(queue, s.after)
			}
		}
	}
	return len(seen)
}

// settles reports whether the work ends if nothing else happens.
func (w world) settles(in instance, known map[world]bool) bool {
	var path []world
	for range 400 {
		if known[w] {
			break
		}
		path = append(path, w)
		steps, _ := w.work(in)
		if len(steps) == 0 {
			break
		}
		w = steps[len(path)%len(steps)].after
	}
	if len(path) == 400 {
		return false
	}
	for _, p := range path {
		known[p] = true
	}
	return true
}

// forms reports whether, after all have stopped, every majority of the seats can form the mesh
// again, whichever other directories are lost (V1).
func (w world) forms(in instance) (problem, bool) {
	for up := mask(1); up < 1<<in.procs; up++ {
		if up.majority(w.committed.voters) && up&w.lost == 0 && !w.anyElectable(up) {
			return problem{"MAJORITY", fmt.Sprintf("%v come back and elect nobody", up.names())}, false
		}
	}
	return problem{}, true
}

// SHARELOCK_SEATS=full searches the longer instances, too, which takes some minutes.
func TestSeatsInAllOrders(t *testing.T) {
	kills := map[string]bool{"MAJORITY": true, "HANG": true, "CHOICE": true, "SHRINK": true}
	instances := []instance{
		{name: "one", procs: 1, voters: 1, members: 1, stops: 2, starts: 2},
		{name: "two members, one seat", procs: 2, voters: 1, members: 3, stops: 3, starts: 2},
		{name: "two seats", procs: 2, voters: 3, members: 3, stops: 3, starts: 2},
		{name: "three", procs: 3, voters: 7, members: 7, stops: 3, starts: 2},
		{name: "three with a kill", procs: 3, voters: 7, members: 7, stops: 2, kills: 1, starts: 2, accepted: kills},
		{name: "three, one directory lost", procs: 4, voters: 7, members: 7, lost: 4, stops: 3, starts: 1},
		{name: "three and a spare", procs: 4, voters: 7, members: 15, stops: 3, starts: 1},
		{name: "three, a spare and kills", procs: 4, voters: 7, members: 15, stops: 1, kills: 2, starts: 1, accepted: kills},
		{name: "three and a joiner", procs: 4, voters: 7, members: 7, stops: 2, starts: 2},
		{name: "three for good", procs: 4, voters: 7, members: 15, forGood: 6, stops: 3},
		{name: "five, three stop", procs: 5, voters: 31, members: 31, stops: 3},
	}
	if os.Getenv("SHARELOCK_SEATS") == "full" {
		instances = append(instances,
			instance{name: "three, longer", procs: 3, voters: 7, members: 7, stops: 4, starts: 3},
			instance{name: "three with kills", procs: 3, voters: 7, members: 7, stops: 3, kills: 2, starts: 3, accepted: kills},
			instance{name: "three, one directory lost, longer", procs: 4, voters: 7, members: 7, lost: 4, stops: 4, starts: 2},
			instance{name: "three and a spare, longer", procs: 4, voters: 7, members: 15, stops: 4, starts: 2},
			instance{name: "three and a spare with a kill", procs: 4, voters: 7, members: 15, stops: 2, kills: 1, starts: 1, accepted: kills},
			instance{name: "three and two spares", procs: 5, voters: 7, members: 31, stops: 3},
			instance{name: "five stop", procs: 5, voters: 31, members: 31, stops: 5},
			instance{name: "five, three stop and one starts", procs: 5, voters: 31, members: 31, stops: 3, starts: 1},
			instance{name: "five and a spare", procs: 6, voters: 31, members: 63, stops: 3},
		)
	}
	for _, in := range instances {
		t.Run(in.name, func(t *testing.T) {
			t.Logf("%d states", in.search(t))
		})
	}
}
