package faults

import (
	"context"
	"math/rand/v2"
	"os"
	"syscall"
	"time"
)

// fault is one row of the table.
type fault struct {
	name string
	// nodes lists the sizes of the meshes to test it on; nil means all.
	nodes []int
	setup setup
	// limit is the longest time for which a key may get no grant.
	limit time.Duration
	// everything: holds, the order of queues and requests in flight are lost. Grants must be right
	// nevertheless.
	everything bool
	// short: it is one of the few that run everywhere.
	short bool
	// do calls r.begin when it begins, and returns when the mesh is whole again.
	do func(r *rig)
}

const (
	// recovery is how long the crash or cut of a minority may delay the grants of any key.
	recovery = 2*lease + time.Second
	// maxTTL is the default. A mesh that lost everything waits for it, stretched.
	maxTTL = 60 * time.Second
	// lasting is how long a cut lasts: long enough for an eviction, and for the evicted members to try
	// to join again.
	lasting = 7 * time.Second
	// before and after are the times without a fault, under load.
	before, after = time.Second, 2 * time.Second
)

// table returns all faults.
func table() []fault {
	return []fault{
		{name: "kill -9 of an owner", limit: recovery, do: func(r *rig) {
			r.crash(r.follower(r.ownerOf(loadKey(0))))
		}},
		{name: "kill -9 of the leader", limit: recovery, short: true, do: func(r *rig) { r.crash(r.leader()) }},
		{name: "kill -9 of any one", limit: recovery, do: func(r *rig) { r.crash(r.any()) }},
		{name: "kill -9 of the leader and one", nodes: []int{5}, limit: recovery, do: func(r *rig) {
			leader := r.leader()
			r.crash(leader, r.any(leader))
		}},
		{name: "kill -9 of two that do not lead", nodes: []int{5}, limit: recovery, do: func(r *rig) {
			leader := r.leader()
			one := r.any(leader)
			r.crash(one, r.any(leader, one))
		}},
		{name: "an owner stopped for 12 s", limit: recovery, short: true, do: func(r *rig) {
			r.suspend(r.follower(r.ownerOf(loadKey(0))), 12*time.Second)
		}},
		{name: "the leader stopped for 12 s", limit: recovery, do: func(r *rig) { r.suspend(r.leader(), 12*time.Second) }},
		{name: "a minority cut off", limit: recovery, do: func(r *rig) {
			leader := r.leader()
			few := []*node{r.any(leader)}
			if len(r.nodes) == 5 {
				few = append(few, r.any(leader, few[0]))
			}
			r.isolate(few, r.others(few...), nil)
		}},
		{name: "the leader cut off", limit: recovery, do: func(r *rig) {
			leader := r.leader()
			r.isolate([]*node{leader}, r.others(leader), nil)
		}},
		{name: "an owner alone, without clients", limit: recovery, do: func(r *rig) {
			one := r.follower(r.ownerOf(loadKey(0)))
			r.isolate([]*node{one}, r.others(one), []string{host})
		}},
		{name: "one that is not heard", limit: recovery, do: func(r *rig) {
			one := r.any(r.leader())
			r.cut(func() { r.net.cut(one.host, hosts(r.others(one))...) })
		}},
		// The leader hears its renewals and answers them: only complaints reveal it (V6).
		{name: "one that hears nobody", limit: 3 * lease, do: func(r *rig) {
			one := r.any(r.leader())
			r.cut(func() {
				for _, n := range r.others(one) {
					r.net.cut(n.host, one.host)
				}
			})
		}},
		{name: "a leader that hears nobody", limit: recovery, do: func(r *rig) {
			leader := r.leader()
			r.cut(func() {
				for _, n := range r.others(leader) {
					r.net.cut(n.host, leader.host)
				}
			})
		}},
		{name: "two that do not reach each other", limit: 3 * lease, short: true, do: func(r *rig) {
			leader := r.leader()
			a := r.any(leader)
			b := r.any(leader, a)
			r.cut(func() { r.net.part([]string{a.host}, []string{b.host}) })
		}},
		{name: "the leader does not reach one", limit: 3 * lease, do: func(r *rig) {
			leader := r.leader()
			b := r.any(leader)
			r.cut(func() { r.net.part([]string{leader.host}, []string{b.host}) })
		}},
		{name: "rolling restart", limit: recovery, short: true, do: func(r *rig) {
			r.begin()
			for _, n := range r.nodes {
				n.stop()
				n.start()
				r.healed()
			}
		}},
		{name: "a disk full", limit: recovery, setup: setup{smallDisks: true}, do: func(r *rig) {
			// The leader's disk is full when it has to write: a node leaves and joins until there was
			// really no space left.
			leader := r.leader()
			r.begin()
			leader.fill()
			for range 5 {
				r.spare.start()
				r.await("another node is in", 20*time.Second, r.spare.ready)
				r.spare.stop()
				if leader.said("no space left") {
					break
				}
			}
			r.last(time.Until(r.began.Add(lasting)))
			if !leader.said("no space left") {
				r.t.Error("the leader never ran out of room: nothing was tried")
			}
			leader.makeRoom()
			r.healed()
		}},
		{name: "a data directory lost", limit: recovery, do: func(r *rig) {
			// The first seed's directory: it must not found another mesh.
			first := r.nodes[0]
			r.begin()
			first.kill()
			if err := os.RemoveAll(first.data); err != nil {
				r.t.Fatal(err)
			}
			r.last(lasting / 2)
			first.start()
			r.healed()
		}},
		{name: "20 ms between members, kill -9", limit: recovery, setup: setup{relayed: true, delay: 20 * time.Millisecond, loss: 20}, do: func(r *rig) {
			r.crash(r.any())
		}},
		{name: "1 % of packets lost", limit: recovery, do: func(r *rig) {
			r.cut(func() { r.net.lose(100) })
		}},
		{name: "clients lose connections", limit: recovery, setup: setup{relayed: true}, do: func(r *rig) {
			r.begin()
			broken := 0
			for range 20 {
				r.last(lasting / 20)
				broken += r.fronts[rand.IntN(len(r.fronts))].reset()
			}
			r.t.Logf("%d connections were broken", broken)
			r.healed()
		}},
		{
			name: "all killed at once", limit: maxTTL*11/10 + 15*time.Second, everything: true, do: func(r *rig) {
				r.begin()
				for _, n := range r.nodes {
					n.signal(syscall.SIGKILL)
				}
				for _, n := range r.nodes {
					<-n.ended
					n.start()
				}
				r.healed()
				r.last(time.Until(r.began.Add(maxTTL*11/10 + 5*time.Second)))
			},
		},
	}
}

// any returns a node that is not one of these.
func (r *rig) any(not ...*node) *node {
	list := r.others(not...)
	return list[rand.IntN(len(list))]
}

// follower returns the node if it is not the leader, and another one otherwise.
func (r *rig) follower(n *node) *node {
	r.t.Helper()
	if leader := r.leader(); n == leader {
		return r.any(leader)
	}
	return n
}

// crash kills nodes at the same moment, and starts them again when the others have worked without
// them for a while.
func (r *rig) crash(nodes ...*node) {
	r.t.Helper()
	r.begin()
	for _, n := range nodes {
		n.signal(syscall.SIGKILL)
	}
	r.await("the others go on", 20*time.Second, func(ctx context.Context) bool { return r.goesOn(ctx, r.others(nodes...)) })
	r.t.Logf("killed %v, the others went on after %v", names(nodes), time.Since(r.began).Round(time.Millisecond))
	r.last(time.Until(r.began.Add(lasting)))
	for _, n := range nodes {
		<-n.ended
		n.start()
	}
	r.healed()
}

// suspend stops a process and lets it continue after d.
func (r *rig) suspend(n *node, d time.Duration) {
	r.t.Helper()
	r.begin()
	n.signal(syscall.SIGSTOP)
	r.last(d)
	n.signal(syscall.SIGCONT)
	r.healed()
}

// isolate cuts few off from many, and from the addresses in and. It watches what the few grant if
// clients reach them.
func (r *rig) isolate(few, many []*node, and []string) {
	r.t.Helper()
	if and != nil {
		r.cut(func() { r.net.part(hosts(few), append(hosts(many), and...)) })
		return
	}
	watch := r.minority.prepare(few)
	r.begin()
	r.net.part(hosts(few), hosts(many))
	watch()
	r.last(lasting)
	r.minority.end()
	r.net.heal()
	r.healed()
}

// cut disturbs the network for a while.
func (r *rig) cut(do func()) {
	r.t.Helper()
	r.begin()
	do()
	r.last(lasting)
	r.net.heal()
	r.healed()
}

func names(nodes []*node) []string {
	var list []string
	for _, n := range nodes {
		list = append(list, n.name)
	}
	return list
}
