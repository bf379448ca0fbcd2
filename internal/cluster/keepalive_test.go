package cluster_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/client"
	"github.com/sgkandale/sharelock/internal/cluster"
	"github.com/sgkandale/sharelock/internal/sessionwire"
	"github.com/sgkandale/sharelock/internal/virtual"
)

// renewals counts the renewals of a client that were answered, and those among them that nodes
// made for it.
func renewals(c *cluster.Cluster, name string) (all, kept int) {
	for _, call := range c.History().Calls() {
		if call.Client == name && call.Op == cluster.Renew && call.OK() {
			all++
			if call.Kept {
				kept++
			}
		}
	}
	return all, kept
}

func stillHeld(t *testing.T, when string, locks ...*client.Lock) {
	t.Helper()
	for _, l := range locks {
		if l.Err() != nil || l.Remaining() == 0 {
			t.Errorf("%s: lock %q: %v", when, l.Key(), l.Err())
		}
	}
}

func acquireAll(ctx context.Context, t *testing.T, cl *client.Client, keys []string, opts ...client.Option) []*client.Lock {
	t.Helper()
	var locks []*client.Lock
	for _, key := range keys {
		l, err := cl.Acquire(ctx, key, opts...)
		must(t, err)
		locks = append(locks, l)
	}
	return locks
}

// Nodes keep the locks of sessions alive. No holder notices when a node dies that serves a session
// or owns its locks.
func TestSimKeptWhileNodesDie(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		c := scene(t, 3, 2)
		ctx := patient(t)
		// One client calls the owners. The locks of the other are kept alive by one node at a time, and
		// have other owners.
		direct := outside(ctx, t, c, "direct")
		led := outside(ctx, t, c, "led", 0, 1, 2)
		locks := acquireAll(ctx, t, direct, keysNamed("direct", 30), client.TTL(sceneTTL))
		locks = append(locks, acquireAll(ctx, t, led, keysNamed("led", 30), client.TTL(sceneTTL))...)
		time.Sleep(2 * sceneTTL)
		stillHeld(t, "at first", locks...)
		for _, name := range []string{"direct", "led"} {
			if all, kept := renewals(c, name); kept < 100 || kept < all {
				t.Errorf("%s: %d renewals, of which nodes made %d", name, all, kept)
			}
		}
		for i := range 3 {
			c.Kill(i)
			time.Sleep(2 * sceneTTL)
			stillHeld(t, "after a death", locks...)
			must(t, c.Restart(ctx, i))
			must(t, c.WaitMembers(ctx, 3))
			time.Sleep(sceneTTL)
			stillHeld(t, "after a restart", locks...)
		}
		_, before := renewals(c, "led")
		time.Sleep(sceneTTL)
		if _, after := renewals(c, "led"); after-before < 60 {
			t.Errorf("%d renewals were made by nodes in the end, want 90 in a TTL", after-before)
		}
		for _, l := range locks {
			must(t, l.Release(ctx))
		}
	})
}

// The end of a hold that is taken away names that hold, and no other hold ends with it.
func TestSimKeptLockForced(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		c := scene(t, 3, 2)
		ctx := patient(t)
		locks := acquireAll(ctx, t, outside(ctx, t, c, "holder", 1), keysNamed("k", 20), client.TTL(sceneTTL))
		time.Sleep(2 * sceneTTL)
		stillHeld(t, "at first", locks...)
		victim := locks[7]
		_, err := c.Client(2).ForceRelease(ctx, victim.Key(), victim.Token(), "by the test")
		must(t, err)
		next, err := c.Client(2).Acquire(ctx, victim.Key(), client.TTL(sceneTTL))
		must(t, err)
		forced := time.Now()
		select {
		case <-victim.Done():
		case <-time.After(sceneTTL):
			t.Error("the holder has not heard of it")
		}
		if took := time.Since(forced); took > sceneTTL/2 {
			t.Errorf("the holder heard of it after %v", took)
		}
		if err := victim.Err(); !errors.Is(err, client.ErrLost) || !errors.Is(err, client.ErrForced) {
			t.Errorf("it ended with %v", err)
		}
		time.Sleep(2 * sceneTTL)
		stillHeld(t, "later", append(locks[:7:7], locks[8:]...)...)
		stillHeld(t, "later", next)
	})
}

// A node that is cut off keeps nothing alive, and says so. Other nodes then keep its sessions' locks
// alive.
func TestSimKeptByANodeThatIsCutOff(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		c := scene(t, 3, 2)
		ctx := patient(t)
		locks := acquireAll(ctx, t, outside(ctx, t, c, "holder", 0, 1, 2), keysNamed("k", 20), client.TTL(sceneTTL))
		time.Sleep(2 * sceneTTL)
		stillHeld(t, "at first", locks...)
		c.Split([]int{0}, []int{1, 2})
		time.Sleep(2 * sceneTTL)
		all, kept := renewals(c, "holder")
		time.Sleep(2 * sceneTTL)
		stillHeld(t, "later", locks...)
		allLater, keptLater := renewals(c, "holder")
		if kept, all := keptLater-kept, allLater-all; kept < 100 || all > kept {
			t.Errorf("%d renewals later, of which nodes made %d", all, kept)
		}
	})
}

// A client that sleeps past its TTL loses its locks although its session is still open: without
// keepalives nothing is renewed. It notices when it wakes up, and its late release does not affect
// another holder.
func TestSimKeptLockOfASleeper(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		c := scene(t, 3, 2)
		ctx := patient(t)
		bed := c.MemNet().Host("bed")
		sleeper, err := c.Dial(ctx, client.Options{ClientID: "sleeper", Patience: time.Minute, Dialer: bed.Dial}, 0)
		must(t, err)
		key := placed(t, c, 1, cluster.Anyone)
		l, err := sleeper.Acquire(ctx, key, client.TTL(sceneTTL))
		must(t, err)
		time.Sleep(2 * sceneTTL)
		stillHeld(t, "at first", l)
		c.MemNet().Freeze("bed")
		slept := time.Now()
		other, err := outside(ctx, t, c, "other", 2).Acquire(ctx, key, client.TTL(sceneTTL), client.Wait(time.Minute))
		must(t, err)
		if took := time.Since(slept); took > 2*sceneTTL {
			t.Errorf("the next in line had to wait for %v", took)
		}
		if !errors.Is(l.Err(), client.ErrLost) {
			t.Errorf("the sleeper's lock: %v", l.Err())
		}
		c.MemNet().Thaw("bed")
		time.Sleep(2 * sceneTTL)
		stillHeld(t, "later", other)
		if err := l.Release(ctx); !errors.Is(err, client.ErrLost) {
			t.Errorf("release of the sleeper's lock: %v", err)
		}
		stillHeld(t, "after its release", other)
	})
}

// cutBehind makes node 1 keep alive a client's lock that node 0 owns. When a renewal has begun, it
// holds the owner's answer and everything that node 1 sends to the owner.
func cutBehind(ctx context.Context, t *testing.T, c *cluster.Cluster) (l *client.Lock, answer *cluster.Rule) {
	t.Helper()
	l, err := outside(ctx, t, c, "holder", 1).Acquire(ctx, placed(t, c, 0, cluster.Anyone), client.TTL(sceneTTL))
	must(t, err)
	time.Sleep(sceneTTL)
	stillHeld(t, "at first", l)
	answer = c.HoldMessages(cluster.Messages{From: 0, To: 1, Kinds: []cluster.Kind{cluster.Answers}})
	must(t, answer.WaitMet(ctx, 1))
	c.HoldMessages(cluster.Messages{From: 1, To: 0, Kinds: []cluster.Kind{cluster.Calls}})
	return l, answer
}

// Q3: a renewal counts from a keepalive that came before the renewal began. Keepalives that come
// while its answer is in flight prove nothing.
func TestSimKeptAsOf(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		c := scene(t, 3, 2)
		ctx := patient(t)
		l, answer := cutBehind(ctx, t, c)
		time.Sleep(sceneTTL * 2 / 5)
		answer.End()
		next, err := outside(ctx, t, c, "next", 2).Acquire(ctx, l.Key(), client.TTL(sceneTTL), client.Wait(time.Minute))
		must(t, err)
		if l.Err() == nil {
			t.Errorf("%s: the holder relies on its lock, for another %v", cluster.OneHolder, l.Remaining())
		}
		use(ctx, t, next)
	})
}

// A renewal that the owner has not confirmed does not count, whatever happened to it.
func TestSimKeptUnconfirmed(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		c := scene(t, 3, 2)
		ctx := patient(t)
		l, err := outside(ctx, t, c, "holder", 1).Acquire(ctx, placed(t, c, 0, cluster.Anyone), client.TTL(sceneTTL))
		must(t, err)
		time.Sleep(2 * sceneTTL)
		stillHeld(t, "at first", l)
		c.DropMessages(cluster.Messages{From: 1, To: 0, Kinds: []cluster.Kind{cluster.Calls}})
		next, err := outside(ctx, t, c, "next", 2).Acquire(ctx, l.Key(), client.TTL(sceneTTL), client.Wait(time.Minute))
		must(t, err)
		if l.Err() == nil {
			t.Errorf("%s: the holder relies on its lock, for another %v", cluster.OneHolder, l.Remaining())
		}
		use(ctx, t, next)
	})
}

// heard records what a session is told.
type heard struct {
	mu       sync.Mutex
	renewed  map[uint64]uint64 // the newest keepalive by hold
	ended    map[uint64]error
	released chan struct{}
}

func (h *heard) Answer(uint64, sharelock.Hold, error) {}
func (h *heard) Hold()                                {}
func (h *heard) Flush()                               {}
func (*heard) Forced(string, sharelock.Token, string) {}

func (h *heard) Released() { close(h.released) }

func (h *heard) Renewed(keepalive uint64, ids []uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, id := range ids {
		h.renewed[id] = max(h.renewed[id], keepalive)
	}
}

func (*heard) Queued(uint64, uint32) {}

func (h *heard) Ended(id uint64, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ended[id] = err
}

// An attached hold lives as long as keepalives come, whoever owns it. A session releases it only on
// request.
func TestSimSessionOfANode(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		c := scene(t, 3, 2)
		ctx := patient(t)
		node := c.Node(0)
		told := &heard{renewed: map[uint64]uint64{}, ended: map[uint64]error{}, released: make(chan struct{})}
		s := node.Open(told, "")
		defer s.Close()
		take := func(key string) sessionwire.Keep {
			h, err := node.Acquire(ctx, sharelock.AcquireRequest{Key: key, ClientID: "c", TTL: sceneTTL})
			must(t, err)
			return sessionwire.Keep{Kind: sessionwire.KeepAttach, Key: key, Token: h.Token, TTL: sceneTTL}
		}
		isHeld := func(key string) bool {
			_, err := c.Node(1).Get(ctx, key)
			if err != nil && !errors.Is(err, sharelock.ErrNotHeld) {
				t.Fatal(err)
			}
			return err == nil
		}
		keys := keysNamed("kept", 12)
		alive := uint64(0)
		keepalive := func() sessionwire.Keep {
			alive++
			return sessionwire.Keep{Kind: sessionwire.KeepAlive, ID: alive}
		}
		list := []sessionwire.Keep{keepalive()}
		for i, key := range keys {
			k := take(key)
			k.ID = uint64(i)
			list = append(list, k)
		}
		wrong := list[1]
		wrong.ID, wrong.Token = 100, wrong.Token+1
		s.Keep(append(list, wrong))
		for range 12 {
			time.Sleep(sceneTTL / 3)
			s.Keep([]sessionwire.Keep{keepalive()})
		}
		time.Sleep(sceneTTL / 3)
		told.mu.Lock()
		if len(told.ended) != 1 || !errors.Is(told.ended[100], sharelock.ErrStaleToken) {
			t.Errorf("ended: %v, want the hold with the wrong token", told.ended)
		}
		for i, key := range keys {
			if as := told.renewed[uint64(i)]; as+2 < alive {
				t.Errorf("%q was renewed as of keepalive %d of %d", key, as, alive)
			}
		}
		told.mu.Unlock()
		for _, key := range keys {
			if !isHeld(key) {
				t.Errorf("%q is not held though it is kept", key)
			}
		}
		time.Sleep(2 * sceneTTL)
		for _, key := range keys {
			if isHeld(key) {
				t.Errorf("%q is held though no keepalive came", key)
			}
		}
		list = nil
		for i, key := range keys {
			if k := take(key); i > 0 {
				k.ID = uint64(200 + i)
				list = append(list, k)
			}
		}
		s.Keep(append(list, sessionwire.Keep{Kind: sessionwire.KeepClose, ID: 1}))
		<-told.released
		for i, key := range keys {
			if isHeld(key) != (i == 0) {
				t.Errorf("%q is held: %t; want the one that was not attached", key, isHeld(key))
			}
		}
	})
}
