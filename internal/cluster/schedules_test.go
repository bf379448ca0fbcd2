package cluster_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/client"
	"github.com/sgkandale/sharelock/internal/cluster"
	"github.com/sgkandale/sharelock/internal/virtual"
	"github.com/sgkandale/sharelock/owner"
)

// The worst schedules with whole nodes: those that involve clocks, clients, the view and the owner.
// The others are in packages owner and mesh.

// The set-up of the schedules: leases of 2 s, locks of 10 s, at most 30 s.
const (
	sceneLease = 2 * time.Second
	sceneTTL   = 10 * time.Second
	sceneMax   = 30 * time.Second
)

func scene(t *testing.T, nodes, replicas int) *cluster.Cluster {
	t.Helper()
	return cluster.Start(inRAM(t), cluster.Options{
		Net: cluster.Memory, Nodes: nodes, Timing: sceneLease, MaxTTL: sceneMax, Configure: copies(replicas),
	})
}

// placed returns a key whose owner is a and whose first backup is b; b may be Anyone.
func placed(t *testing.T, c *cluster.Cluster, a, b int) string {
	t.Helper()
	for _, key := range keysNamed("k", 500) {
		at, err := c.Node(a).Locate(key)
		must(t, err)
		if at.Owner == c.Name(a) && (b == cluster.Anyone || len(at.Backups) > 0 && at.Backups[0] == c.Name(b)) {
			return key
		}
	}
	t.Fatalf("no key of 500 is at node %d, backed by %d", a, b)
	return ""
}

// outside returns a client of these nodes.
func outside(ctx context.Context, t *testing.T, c *cluster.Cluster, name string, nodes ...int) *client.Client {
	t.Helper()
	cl, err := c.Dial(ctx, client.Options{ClientID: name, Patience: 3 * time.Minute}, nodes...)
	must(t, err)
	return cl
}

// members returns the names in the view of node i.
func members(c *cluster.Cluster, i int) []string {
	var names []string
	for _, m := range c.Node(i).Status().Members {
		names = append(names, m.Name)
	}
	return names
}

// until checks every ten milliseconds whether a condition holds, and returns how long that took.
func until(ctx context.Context, t *testing.T, what string, so func() bool) time.Duration {
	t.Helper()
	begin := time.Now()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !so() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("wait until %s: %v", what, context.Cause(ctx))
		}
	}
	return time.Since(begin)
}

// never fails the test if a condition holds at some moment, until the returned function is called.
func never(t *testing.T, what string, so func() bool) (stop func()) {
	t.Helper()
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			if so() {
				t.Errorf("never: %s", what)
				<-end
				return
			}
			select {
			case <-tick.C:
			case <-end:
				return
			}
		}
	}()
	return func() { close(end); <-ended }
}

func patient(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// The lost state of a key is quarantined once, however often its owner changes, with clocks that
// differ.
func TestSchedule05QuarantineSurvivesItsOwner(t *testing.T) {
	for name, rate := range map[string]float64{"exact": 1, "the second owner is fast": 1.09, "the second owner is slow": 0.91} {
		t.Run(name, func(t *testing.T) { virtual.Test(t, func(t *testing.T) { quarantineSurvives(t, rate) }) })
	}
}

func quarantineSurvives(t *testing.T, rate float64) {
	c, ctx := scene(t, 5, 2), patient(t)
	leader := c.Leader()
	rest := others(c, leader)
	a, b := rest[0], rest[1]
	key := placed(t, c, a, b)
	c1 := outside(ctx, t, c, "c1", rest[2], leader)
	l, err := c1.Acquire(ctx, key, client.TTL(sceneMax), client.NoRenew())
	must(t, err)
	granted := time.Now()
	c.Kill(a)
	c.Kill(b)
	must(t, c.WaitAmong(waitAtMost(ctx, t, 20*time.Second), others(c, a, b)...))
	second := c.Owner(key)
	c.SetRate(second, rate)
	lost := time.Now()
	cl := outside(ctx, t, c, "watcher", others(c, a, b, second)...)

	// In quarantine no caller is told that the key is free.
	if _, err := cl.Get(ctx, key); !errors.Is(err, sharelock.ErrQuarantined) {
		t.Errorf("get in quarantine: %v", err)
	}
	if _, err := cl.TryAcquire(ctx, key); !errors.Is(err, sharelock.ErrQuarantined) {
		t.Errorf("try in quarantine: %v", err)
	}
	if _, err := c.Node(second).Renew(ctx, key, l.Token(), sceneMax, nil); !errors.Is(err, sharelock.ErrStaleToken) && !errors.Is(err, sharelock.ErrNotHeld) {
		t.Errorf("renew in quarantine: %v", err)
	}
	must(t, c.Restart(ctx, a))
	pause(ctx, 20*time.Second-time.Since(granted))
	c.Kill(second)

	next, err := cl.Acquire(ctx, key, client.Wait(2*time.Minute))
	must(t, err)
	if early := l.Remaining(); early > 0 {
		t.Errorf("granted again %v before the first lock ends", early)
	}
	// The quarantine continues where it was, by each owner's own clock, and does not start again.
	if took, most := time.Since(lost), sceneMax*121/100+3*sceneLease; took > most {
		t.Errorf("granted %v after the state was lost, want at most %v", took, most)
	}
	if next.Token() <= l.Token() {
		t.Errorf("token %v follows %v", next.Token(), l.Token())
	}
	must(t, next.Release(ctx))
}

func waitAtMost(ctx context.Context, t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, d)
	t.Cleanup(cancel)
	return ctx
}

// An owner is cut off, with a slow clock, directly after it sent a renewal whose answer is late. With
// a backup it answers nothing more. Alone it answers until its lease ends by its own clock, counted
// from the send, and nobody acts without it before.
func TestSchedule07CutOffOwner(t *testing.T) {
	for name, replicas := range map[string]int{"with a backup that dies": 2, "alone": 1} {
		t.Run(name, func(t *testing.T) { virtual.Test(t, func(t *testing.T) { cutOffOwner(t, replicas) }) })
	}
}

func cutOffOwner(t *testing.T, replicas int) {
	slow := 0.91
	c, ctx := scene(t, 3, replicas), patient(t)
	leader := c.Leader()
	rest := others(c, leader)
	a, b := rest[0], cluster.Anyone
	if replicas > 1 {
		b = rest[1]
	}
	key := placed(t, c, a, b)
	c.SetRate(a, slow)
	hold, err := c.Node(a).Acquire(ctx, sharelock.AcquireRequest{Key: key, ClientID: "c1", TTL: sceneTTL})
	must(t, err)

	answers := c.HoldMessages(cluster.Messages{From: leader, To: a, Kinds: []cluster.Kind{cluster.LeaseAnswer}})
	must(t, answers.WaitMet(ctx, 1))
	sent := time.Now()
	c.Split([]int{a}, others(c, a))
	if replicas > 1 {
		c.Kill(b)
	}
	time.AfterFunc(1500*time.Millisecond, answers.End)
	epoch := c.Node(leader).Status().Epoch

	// c1 renews repeatedly.
	var lastSend, lastAnswer time.Time
	for {
		send := time.Now()
		short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
		_, err := c.Node(a).Renew(short, key, hold.Token, sceneTTL, nil)
		cancel()
		if err == nil {
			lastSend, lastAnswer = send, time.Now()
		} else if errors.Is(err, sharelock.ErrNoQuorum) && time.Since(sent) > sceneLease {
			break // Q4
		}
		if time.Since(sent) > 10*sceneLease {
			t.Fatalf("the owner that is cut off still says %v", err)
		}
		pause(ctx, 10*time.Millisecond)
	}
	switch ended := time.Duration(float64(sceneLease) / slow); {
	case replicas > 1 && !lastAnswer.IsZero():
		t.Errorf("answered %v after the cut, without its backup", lastAnswer.Sub(sent))
	case replicas == 1 && lastAnswer.IsZero():
		t.Error("answered nothing after the cut, though its lease was valid")
	case lastAnswer.After(sent.Add(ended)):
		t.Errorf("answered %v after it sent its last renewal, its lease ended after %v", lastAnswer.Sub(sent), ended)
	}
	if replicas > 1 {
		return // for it two of three are gone, and one of them for ever
	}
	if now := c.Node(leader).Status().Epoch; now != epoch && lastAnswer.After(sent.Add(sceneLease)) {
		t.Logf("view %d was in force when the lease had ended", now)
	}
	c2 := outside(ctx, t, c, "c2", leader)
	l, err := c2.Acquire(ctx, key, client.Wait(2*time.Minute))
	must(t, err)
	if deadline := lastSend.Add(sceneTTL); time.Now().Before(deadline) {
		t.Errorf("granted again %v before c1's lock ends", time.Until(deadline))
	}
	must(t, l.Release(ctx))
}

// No view without the owner is in force while the owner may answer.
func TestSchedule07NoViewBefore(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		c, ctx := scene(t, 3, 1), patient(t)
		leader := c.Leader()
		a := others(c, leader)[0]
		c.SetRate(a, 0.91)
		epoch := c.Epoch()
		c.Split([]int{a}, others(c, a))
		stop := never(t, "a view without a member that has a lease", func() bool {
			return c.Node(leader).Status().Epoch > epoch && c.Node(a).Status().LeaseValid
		})
		defer stop()
		until(ctx, t, "the view is without it", func() bool { return c.Node(leader).Status().Epoch > epoch })
	})
}

// The owner is paused for a minute between its check of the lease and its answer. When the answer
// arrives, another client has the key: c1 must not believe the answer.
func TestSchedule07PausedOwner(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		c, ctx := scene(t, 3, 1), patient(t)
		leader := c.Leader()
		a := others(c, leader)[0]
		key := placed(t, c, a, cluster.Anyone)
		c1, c2 := outside(ctx, t, c, "c1", a), outside(ctx, t, c, "c2", leader)
		stands := c.PauseAt(a, owner.PointAnswer)
		late := make(chan *client.Lock, 1)
		go func() {
			defer close(late)
			l, err := c1.Acquire(ctx, key, client.TTL(sceneTTL), client.NoRenew(), client.Wait(2*time.Minute))
			if err != nil {
				t.Errorf("c1: %v", err)
				return
			}
			late <- l
		}()
		must(t, stands.Reached(ctx))
		time.AfterFunc(time.Minute, stands.Resume)
		begin := time.Now()
		l, err := c2.Acquire(ctx, key, client.TTL(sceneMax), client.Wait(2*time.Minute))
		must(t, err)
		if took := time.Since(begin); took > time.Minute {
			t.Fatalf("c2 had to wait %v, longer than the owner stood", took)
		}
		pause(ctx, time.Minute-time.Since(begin)+10*time.Second)
		select {
		case first := <-late:
			t.Errorf("c1 believes to hold the key with token %v while c2 holds it with %v", first.Token(), l.Token())
		default:
		}
		must(t, l.Release(ctx))
		if first := <-late; first != nil && first.Token() <= l.Token() {
			t.Errorf("c1 has token %v after c2 had %v", first.Token(), l.Token())
		}
	})
}

// The client must count from the send that was answered.
func TestSchedule11WhichSend(t *testing.T) {
	const ttl = 3 * time.Second
	calls := func(a int) cluster.Messages {
		return cluster.Messages{From: cluster.Clients, To: a, Kinds: []cluster.Kind{cluster.SessionCalls}}
	}
	answers := func(a int) cluster.Messages {
		return cluster.Messages{From: a, To: cluster.Clients, Kinds: []cluster.Kind{cluster.SessionAnswers}}
	}
	stage := func(name string, f func(ctx context.Context, t *testing.T, c *cluster.Cluster, cl *client.Client, key string, a int)) {
		t.Run(name, func(t *testing.T) {
			virtual.Test(t, func(t *testing.T) {
				c, ctx := scene(t, 3, 2), patient(t)
				a := c.Leader()
				f(ctx, t, c, outside(ctx, t, c, "c1", a), placed(t, c, a, cluster.Anyone), a)
			})
		})
	}
	stage("the answer was lost", func(ctx context.Context, t *testing.T, c *cluster.Cluster, cl *client.Client, key string, a int) {
		lost := c.DropMessages(answers(a))
		go func() { _ = lost.WaitMet(ctx, 1); lost.End() }()
		l, err := cl.Acquire(ctx, key, client.TTL(ttl), client.NoRenew())
		must(t, err)
		var sends []cluster.Call
		for _, call := range c.History().Calls() {
			if call.Op == cluster.Acquire {
				sends = append(sends, call)
			}
		}
		if len(sends) != 2 || sends[0].RequestID != sends[1].RequestID || sends[0].OK() || !sends[1].OK() {
			t.Fatalf("want a lost send and one that was answered with the same id, got %+v", sends)
		}
		if left, want := l.Remaining(), ttl-time.Since(sends[1].Start); left != want {
			t.Errorf("%v left, want %v: from the second send", left, want)
		}
		lock, err := cl.Get(ctx, key)
		must(t, err)
		if len(lock.Holds) != 1 || lock.Holds[0].Token != l.Token() || lock.Holds[0].ExpiresIn < l.Remaining() {
			t.Errorf("the owner has %+v, the client token %v for %v", lock.Holds, l.Token(), l.Remaining())
		}
		must(t, l.Release(ctx))
	})
	stage("the answer is late", func(ctx context.Context, t *testing.T, c *cluster.Cluster, cl *client.Client, key string, a int) {
		const late = 2 * time.Second // a session waits at most 3 s
		held := c.HoldMessages(answers(a))
		time.AfterFunc(late, held.End)
		l, err := cl.Acquire(ctx, key, client.TTL(ttl), client.NoRenew())
		must(t, err)
		if left := l.Remaining(); left > ttl-late || left < ttl-late-100*time.Millisecond {
			t.Errorf("%v left of %v, the answer came after %v", left, ttl, late)
		}
		must(t, l.Release(ctx))
	})
	stage("the lock had expired", func(ctx context.Context, t *testing.T, c *cluster.Cluster, cl *client.Client, key string, a int) {
		lost := c.DropMessages(answers(a))
		go func() {
			_ = lost.WaitMet(ctx, 1)
			again := c.HoldMessages(calls(a))
			lost.End()
			pause(ctx, 2*time.Second)
			again.End()
		}()
		_, err := cl.Acquire(ctx, key, client.TTL(time.Second), client.NoRenew(), client.RequestID("mine"))
		if !errors.Is(err, sharelock.ErrRequestOver) {
			t.Errorf("the second send of an id whose lock has expired: %v", err)
		}
	})
	stage("a long wait by a slow clock", func(ctx context.Context, t *testing.T, c *cluster.Cluster, cl *client.Client, key string, a int) {
		first, err := cl.Acquire(ctx, key)
		must(t, err)
		time.AfterFunc(time.Minute, func() { _ = first.Release(ctx) })
		slow, err := c.DialRate(ctx, 0.91, client.Options{ClientID: "c2"}, others(c, a)...)
		must(t, err)
		got := make(chan *client.Lock, 1)
		go func() {
			defer close(got)
			if l, err := slow.Acquire(ctx, key, client.TTL(sceneTTL), client.NoRenew(), client.Wait(2*time.Minute)); err == nil {
				got <- l
			}
		}()
		waitQueue(ctx, t, c, a, key, 1)
		next, err := cl.Acquire(ctx, key, client.Wait(3*time.Minute))
		must(t, err)
		l := <-got
		if l == nil {
			t.Fatal("the first in line was not granted the key")
		}
		if left := l.Remaining(); left > 0 {
			t.Errorf("the next has the key, and a lock that was waited for still has %v by its client's clock", left)
		}
		must(t, next.Release(ctx))
	})
	stage("a long wait", func(ctx context.Context, t *testing.T, c *cluster.Cluster, cl *client.Client, key string, a int) {
		first, err := cl.Acquire(ctx, key)
		must(t, err)
		time.AfterFunc(time.Minute, func() { _ = first.Release(ctx) })
		slow, err := c.DialRate(ctx, 0.91, client.Options{ClientID: "c2"}, others(c, a)...)
		must(t, err)
		l, err := slow.Acquire(ctx, key, client.TTL(sceneTTL), client.Wait(2*time.Minute))
		must(t, err)
		// A renewal right after the grant makes up for what the wait may have cost with different clocks.
		pause(ctx, 100*time.Millisecond)
		if left := l.Remaining(); left < sceneTTL*2/3 {
			t.Errorf("%v left of %v after the wait", left, sceneTTL)
		}
		must(t, l.Err())
		must(t, l.Release(ctx))
	})
}
