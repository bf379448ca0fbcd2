package api

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/api/halfclosed"
	"github.com/sgkandale/sharelock/internal/caller"
	"github.com/sgkandale/sharelock/internal/event"
	"github.com/sgkandale/sharelock/internal/pagetoken"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var testLimits = sharelock.Limits{
	DefaultTTL:  60 * time.Second,
	MaxTTL:      60 * time.Second,
	DefaultWait: 10 * time.Second,
	MaxWait:     10 * time.Minute,
}

// fakeNode is a lock service in one map, with a FIFO queue per key. Holds do not expire, because no
// test waits for that.
type fakeNode struct {
	mu        sync.Mutex // guards all below
	keys      map[string]*fakeKey
	counter   uint32
	err       error                    // the result of every call, if set
	hook      func()                   // run at the start of every call, if set
	ready     error                    // Ready's answer
	last      sharelock.AcquireRequest // as it arrived, before defaults
	key       string                   // of the last call that has one
	reason    string                   // of the last forced release
	forcedBy  string                   // its caller
	once      bool                     // sentOnce of the last release
	left      int
	change    sharelock.KeyringChange // the last one
	who       caller.Caller           // of the last renewal
	panicking bool                    // Open panics

	watched  sharelock.WatchRequest // the last one
	events   [][]*sharelock.Event   // what a watch sends
	watchErr error                  // what ends a watch
	// watchOpen keeps a watch open until its caller ends it.
	watchOpen bool

	asked sharelock.HistoryRequest // the last one
	past  sharelock.History        // the answer to it

	open  atomic.Int64 // sessions
	waits chan string  // a key for each acquire that begins to wait
	ends  chan error   // ctx.Err() of each acquire whose context ended
}

type fakeKey struct {
	holds   []sharelock.Hold
	waiters []*fakeWaiter
}

type fakeWaiter struct {
	req     sharelock.AcquireRequest
	granted chan sharelock.Hold // buffered
}

var _ Node = (*fakeNode)(nil)

func newFake() *fakeNode {
	return &fakeNode{
		keys:  map[string]*fakeKey{},
		waits: make(chan string, 100),
		ends:  make(chan error, 100),
	}
}

// set changes what the node does, under its lock.
func (n *fakeNode) set(f func(*fakeNode)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f(n)
}

func (n *fakeNode) enter(key string) error {
	n.mu.Lock()
	n.key = key
	hook, err := n.hook, n.err
	n.mu.Unlock()
	if hook != nil {
		hook()
	}
	if err != nil {
		return err
	}
	return sharelock.CheckKey(key)
}

func (n *fakeNode) Acquire(ctx context.Context, r sharelock.AcquireRequest) (sharelock.Hold, error) {
	n.set(func(n *fakeNode) { n.last = r })
	if err := n.enter(r.Key); err != nil {
		return sharelock.Hold{}, err
	}
	if err := testLimits.Check(&r); err != nil {
		return sharelock.Hold{}, err
	}
	n.mu.Lock()
	k := n.keys[r.Key]
	if k == nil {
		k = &fakeKey{}
		n.keys[r.Key] = k
	}
	w := &fakeWaiter{req: r, granted: make(chan sharelock.Hold, 1)}
	k.waiters = append(k.waiters, w)
	n.grant(k)
	if len(w.granted) == 0 && r.Wait == 0 {
		err := n.giveUp(k, w)
		n.mu.Unlock()
		return sharelock.Hold{}, err
	}
	n.mu.Unlock()
	if len(w.granted) > 0 {
		return <-w.granted, nil
	}
	if caller := halfclosed.ListensUnder(ctx); caller != nil {
		ctx = caller
	}
	n.waits <- r.Key
	timer := time.NewTimer(r.Wait)
	defer timer.Stop()
	select {
	case h := <-w.granted:
		return h, nil
	case <-timer.C:
		n.mu.Lock()
		defer n.mu.Unlock()
		return sharelock.Hold{}, n.giveUp(k, w)
	case <-ctx.Done():
		n.mu.Lock()
		defer n.mu.Unlock()
		_ = n.giveUp(k, w)
		n.ends <- ctx.Err()
		return sharelock.Hold{}, ctx.Err()
	}
}

// grant serves the queue from its head; n.mu is held.
func (n *fakeNode) grant(k *fakeKey) {
	for len(k.waiters) > 0 {
		r := k.waiters[0].req
		for _, h := range k.holds {
			if r.Mode == sharelock.Exclusive || h.Mode == sharelock.Exclusive {
				return
			}
		}
		n.counter++
		h := sharelock.Hold{
			Key: r.Key, Token: sharelock.MakeToken(59712345, n.counter), ClientID: r.ClientID, RequestID: r.RequestID,
			Mode: r.Mode, Slots: r.Slots, TTL: r.TTL, ExpiresIn: r.TTL - 2*time.Millisecond,
			SafeFor: r.TTL + 4*time.Millisecond, Node: "a", Metadata: r.Metadata,
		}
		k.holds = append(k.holds, h)
		k.waiters[0].granted <- h
		k.waiters = k.waiters[1:]
	}
}

// giveUp removes w from the queue; n.mu is held.
func (n *fakeNode) giveUp(k *fakeKey, w *fakeWaiter) error {
	k.waiters = slices.DeleteFunc(k.waiters, func(x *fakeWaiter) bool { return x == w })
	return &sharelock.Error{Err: sharelock.ErrLockHeld, Holds: slices.Clone(k.holds), Queue: len(k.waiters)}
}

// end releases the holds that match, or returns why it cannot.
func (n *fakeNode) end(key string, match func(sharelock.Hold) bool) ([]sharelock.Hold, error) {
	if err := n.enter(key); err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	k := n.keys[key]
	if k == nil || len(k.holds) == 0 {
		return nil, sharelock.ErrNotHeld
	}
	var ended, kept []sharelock.Hold
	for _, h := range k.holds {
		if match(h) {
			h.SafeFor, h.ExpiresIn = 0, 0
			ended = append(ended, h)
		} else {
			kept = append(kept, h)
		}
	}
	if len(ended) == 0 {
		return nil, sharelock.ErrStaleToken
	}
	k.holds = kept
	n.grant(k)
	return ended, nil
}

func first(holds []sharelock.Hold, err error) (sharelock.Hold, error) {
	if err != nil {
		return sharelock.Hold{}, err
	}
	return holds[0], nil
}

// caller returns who made the last renewal.
func (n *fakeNode) caller() caller.Caller {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.who
}

func (n *fakeNode) Renew(ctx context.Context, key string, token sharelock.Token, ttl time.Duration, metadata map[string]string) (sharelock.Hold, error) {
	n.set(func(n *fakeNode) { n.who = caller.From(ctx) })
	if err := n.enter(key); err != nil {
		return sharelock.Hold{}, err
	}
	if ttl != 0 {
		if err := testLimits.CheckTTL(ttl); err != nil {
			return sharelock.Hold{}, err
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	k := n.keys[key]
	if k == nil || len(k.holds) == 0 {
		return sharelock.Hold{}, sharelock.ErrNotHeld
	}
	for i := range k.holds {
		if k.holds[i].Token == token {
			if ttl != 0 {
				k.holds[i].TTL = ttl
			}
			if metadata != nil {
				k.holds[i].Metadata = metadata
			}
			return k.holds[i], nil
		}
	}
	return sharelock.Hold{}, sharelock.ErrStaleToken
}

func (n *fakeNode) Release(_ context.Context, key string, token sharelock.Token, sentOnce bool) (sharelock.Hold, error) {
	n.set(func(n *fakeNode) { n.once = sentOnce })
	return first(n.end(key, func(h sharelock.Hold) bool { return h.Token == token }))
}

// GiveUp ends the client's hold or waiter of the key with this request id.
func (n *fakeNode) GiveUp(_ context.Context, key, clientID, requestID string) error {
	_, err := n.end(key, func(h sharelock.Hold) bool { return h.ClientID == clientID && h.RequestID == requestID })
	return err
}

func (n *fakeNode) ReleaseClient(_ context.Context, key, clientID string) (sharelock.Hold, error) {
	return first(n.end(key, func(h sharelock.Hold) bool { return h.ClientID == clientID }))
}

func (n *fakeNode) TakeBack(h sharelock.Hold) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = n.Release(context.Background(), h.Key, h.Token, false) // it may have been released
	}()
	return done
}

func (n *fakeNode) ForceRelease(ctx context.Context, key string, token sharelock.Token, reason string) ([]sharelock.Hold, error) {
	n.set(func(n *fakeNode) { n.reason, n.forcedBy = reason, caller.From(ctx).Name() })
	return n.end(key, func(h sharelock.Hold) bool { return token == 0 || h.Token == token })
}

// lock returns a key's state; n.mu is held.
func (n *fakeNode) lock(key string, k *fakeKey) sharelock.KeyState {
	l := sharelock.KeyState{Key: key, Partition: 17, Owner: "a", Epoch: 59712345, Holds: slices.Clone(k.holds)}
	for i := range l.Holds {
		l.Holds[i].SafeFor = 0
	}
	for _, w := range k.waiters {
		l.Waiters = append(l.Waiters, sharelock.Waiter{
			ClientID: w.req.ClientID, RequestID: w.req.RequestID, Mode: w.req.Mode, Waiting: 1200 * time.Millisecond,
		})
	}
	return l
}

func (n *fakeNode) Get(_ context.Context, key string) (sharelock.KeyState, error) {
	if err := n.enter(key); err != nil {
		return sharelock.KeyState{}, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	k := n.keys[key]
	if k == nil || len(k.holds)+len(k.waiters) == 0 {
		return sharelock.KeyState{}, sharelock.ErrNotHeld
	}
	return n.lock(key, k), nil
}

func (n *fakeNode) List(_ context.Context, r sharelock.ListRequest) (sharelock.ListPage, error) {
	if err := n.enter("-"); err != nil {
		return sharelock.ListPage{}, err
	}
	if r.PageSize > sharelock.MaxPageSize {
		return sharelock.ListPage{}, sharelock.Invalid("page_size", fmt.Sprint(r.PageSize))
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	page := sharelock.ListPage{Quarantined: 3}
	after, err := pagetoken.Key(r.PageToken)
	if err != nil {
		return sharelock.ListPage{}, sharelock.Invalid("page_token", r.PageToken)
	}
	for key, k := range n.keys {
		if len(k.holds) > 0 && strings.HasPrefix(key, r.Prefix) && key > after &&
			(r.ClientID == "" || k.holds[0].ClientID == r.ClientID) {
			page.Locks = append(page.Locks, n.lock(key, k))
		}
	}
	slices.SortFunc(page.Locks, func(a, b sharelock.KeyState) int { return strings.Compare(a.Key, b.Key) })
	if r.PageSize > 0 && len(page.Locks) > r.PageSize {
		page.Locks = page.Locks[:r.PageSize]
		page.NextPageToken = pagetoken.After(page.Locks[r.PageSize-1].Key)
	}
	return page, nil
}

func (n *fakeNode) CheckToken(_ context.Context, key string, token sharelock.Token) (sharelock.TokenCheck, error) {
	if err := n.enter(key); err != nil {
		return sharelock.TokenCheck{}, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	var c sharelock.TokenCheck
	if k := n.keys[key]; k != nil {
		c.Holds = n.lock(key, k).Holds
		c.Current = slices.ContainsFunc(k.holds, func(h sharelock.Hold) bool { return h.Token == token })
	}
	return c, nil
}

func (n *fakeNode) Ready() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.ready
}

func (n *fakeNode) Status() sharelock.MeshState {
	return sharelock.MeshState{
		Cluster: "sharelock", Node: "b", Epoch: 59712345, Leader: "a", LeaseValid: true,
		LeaseRemaining: 1600 * time.Millisecond, Partitions: 1024, Replicas: 2, Active: 341, Release: 1,
		Members: []sharelock.Member{{
			Name: "a", ID: "f00", Incarnation: "1-00000000000000aa", Voter: true, Owns: 341, Backs: 340,
			HTTP: "10.0.0.1:50051", GRPC: "10.0.0.1:50052", Peer: "10.0.0.1:50053", Release: 2,
		}},
	}
}

func (n *fakeNode) Locate(key string) (sharelock.Location, error) {
	n.mu.Lock()
	err := n.err
	n.mu.Unlock()
	if err != nil {
		return sharelock.Location{}, err
	}
	return sharelock.Location{Key: key, Partition: 17, Owner: "a", Backups: []string{"c"}, Epoch: 59712345}, nil
}

func (n *fakeNode) Keyring(_ context.Context, withKeys bool) (sharelock.Keyring, error) {
	k := sharelock.Keyring{
		Keys:    []sharelock.GossipKey{{Fingerprint: "0123456789abcdef", Installed: 1, Primary: 1}},
		Members: []sharelock.KeyringMember{{Name: "a", Encryption: "required"}},
	}
	if withKeys {
		k.Keys[0].Key = "secret"
	}
	return k, n.enter("-")
}

func (n *fakeNode) ChangeKeyring(ctx context.Context, c sharelock.KeyringChange) (sharelock.Keyring, error) {
	n.set(func(n *fakeNode) { n.change = c })
	return n.Keyring(ctx, false)
}

func (n *fakeNode) Activity(_ context.Context, contended int) ([]sharelock.Activity, error) {
	n.mu.Lock()
	err := n.err
	n.mu.Unlock()
	if err != nil {
		return nil, err
	}
	a := sharelock.Activity{Name: "a", Holds: 7, Waiters: 3, LongestWait: 1200 * time.Millisecond, Grants: 90, Ends: 83, Quarantined: 1}
	if contended > 0 {
		a.Contended = []sharelock.Contention{{Key: "orders/42", Holds: 1, Waiters: 3, LongestWait: 1200 * time.Millisecond}}
	}
	return []sharelock.Activity{a, {Name: "b", Err: "it does not answer"}}, nil
}

func (n *fakeNode) Decommission(_ context.Context, name string) error { return n.enter(name) }

func (n *fakeNode) Leave(context.Context, bool) error {
	if err := n.enter("-"); err != nil {
		return err
	}
	n.set(func(n *fakeNode) { n.left++ })
	return nil
}

// Watch sends what the test has queued, and ends with ctx or, after the last batch, with watchErr.
func (n *fakeNode) Watch(ctx context.Context, r sharelock.WatchRequest, send func([]*event.Event) error) error {
	n.mu.Lock()
	n.watched = r
	batches, err := n.events, n.watchErr
	n.mu.Unlock()
	if n.err != nil {
		return n.err
	}
	for _, b := range batches {
		events := make([]*event.Event, len(b))
		for i, e := range b {
			events[i] = event.New(e)
		}
		if err := send(events); err != nil {
			return err
		}
	}
	if err != nil || !n.watchOpen {
		return err
	}
	<-ctx.Done()
	return ctx.Err()
}

// History implements Historian. It returns the present holds.
func (n *fakeNode) History(_ context.Context, r sharelock.HistoryRequest) (sharelock.History, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.asked = r
	return n.past, n.err
}
