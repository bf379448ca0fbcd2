package owner

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/ring"
)

// This file is the table: a mesh of services without a mesh, on which views are
// dealt and messages held by hand. The tests at it are in service_test.go and
// replicate_test.go.

const testPartitions = 8

// table is a mesh of services in one bubble: views are dealt by hand, and calls
// between members are calls.
type table struct {
	t       *testing.T
	start   time.Time
	history ring.History
	members map[string]*seated

	// replicas is R of the views that are dealt; 0 is 1.
	replicas int

	mu   sync.Mutex
	hold map[string]chan struct{} // who waits before answering asks; guarded by mu
	// cut are the links, "from>to", on which operations are lost, and held those on
	// which acknowledgements wait; guarded by mu.
	cut  map[string]bool
	held map[string][]func()
}

// seated is one process at the table.
type seated struct {
	member  ring.Member
	service *Service
}

func newTable(t *testing.T) *table {
	return &table{t: t, start: time.Now(), members: map[string]*seated{}, hold: map[string]chan struct{}{}, cut: map[string]bool{}, held: map[string][]func(){}}
}

func (tb *table) clock() time.Duration { return time.Since(tb.start) }

// process starts a process; starting a name again makes its next incarnation.
func (tb *table) process(name string) *seated {
	id := ring.Identity{ID: name, Counter: 1, Nonce: 1}
	if old := tb.members[name]; old != nil {
		id.Counter = old.member.Counter + 1
	}
	s := &seated{member: ring.Member{Identity: id, Name: name}}
	s.service = NewService(Config{
		Self: id, Name: name, Partitions: testPartitions, MaxTTL: 30 * time.Second, MaxWaiters: 100, Shards: 2,
		Clock: tb.clock, Peers: tb, Log: slog.New(slog.DiscardHandler),
	})
	tb.t.Cleanup(s.service.Stop)
	tb.members[name] = s
	return s
}

// view deals the next view to those of its members that are named in to, or to
// all, and waits until everything is at rest.
func (tb *table) view(names []string, to ...string) uint32 {
	v := ring.View{Epoch: tb.history.Current().Epoch + 1, Replicas: max(tb.replicas, 1), Placement: ring.Placement}
	for _, n := range names {
		v.Members = append(v.Members, tb.members[n].member)
	}
	tb.history = tb.history.Append(v)
	if to == nil {
		to = names
	}
	for _, n := range to {
		tb.install(tb.members[n].service)
	}
	synctest.Wait()
	return v.Epoch
}

func (tb *table) install(s *Service) {
	r, err := ring.Build(tb.history.Current(), testPartitions)
	if err != nil {
		tb.t.Error(err)
		return
	}
	s.SetLease(tb.clock() + time.Hour)
	s.Install(tb.history, r)
}

// owner is who owns the key in the newest view.
func (tb *table) owner(key string) *seated {
	r, err := ring.Build(tb.history.Current(), testPartitions)
	if err != nil {
		tb.t.Fatal(err)
	}
	m, _ := r.Owner(r.Partition(key))
	return tb.members[m.ID]
}

// keyOf finds a key that this member owns in the newest view.
func (tb *table) keyOf(name string) string {
	for i := range 1000 {
		if k := fmt.Sprintf("k%d", i); tb.owner(k).member.ID == name {
			return k
		}
	}
	tb.t.Fatalf("%s owns nothing", name)
	return ""
}

// peer is the process that is meant, in the epoch of the caller (A1).
func (tb *table) peer(to ring.Member, epoch uint32) (*Service, error) {
	s := tb.members[to.ID]
	if s == nil || s.member.Identity != to.Identity {
		return nil, errors.New("no such process")
	}
	if s.service.Epoch() < epoch {
		tb.install(s.service)
	}
	return s.service, nil
}

// Ask implements Peers.
func (tb *table) Ask(ctx context.Context, to ring.Member, epoch uint32, partitions []uint32) ([]Held, error) {
	tb.mu.Lock()
	hold := tb.hold[to.ID]
	tb.mu.Unlock()
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	s, err := tb.peer(to, epoch)
	if err != nil {
		return nil, err
	}
	return s.Ask(epoch, partitions)
}

// Fetch implements Peers.
func (tb *table) Fetch(ctx context.Context, to ring.Member, epoch uint32, want []Held, take func(Copy) error) error {
	s, err := tb.peer(to, epoch)
	if err != nil {
		return err
	}
	return s.Fetch(ctx, epoch, want, take)
}

// Sync implements Peers. The owner is whoever owns the partitions in the newest
// view that the backup has.
func (tb *table) Sync(_ context.Context, to ring.Member, epoch uint32, bases []Base) error {
	s, err := tb.peer(to, epoch)
	if err != nil {
		return err
	}
	return s.Sync(tb.ownerOf(epoch, bases[0].Partition), epoch, bases)
}

// ownerOf is who owns a partition in an epoch.
func (tb *table) ownerOf(epoch, p uint32) ring.Identity {
	for _, v := range tb.history.Views {
		if v.Epoch == epoch {
			r, err := ring.Build(v, testPartitions)
			if err != nil {
				tb.t.Error(err)
				return ring.Identity{}
			}
			m, _ := r.Owner(p)
			return m.Identity
		}
	}
	return ring.Identity{}
}

// Replicate implements Peers.
func (tb *table) Replicate(to ring.Member, epoch uint32, entries []Entries) {
	from := tb.ownerOf(epoch, entries[0].Partition)
	link := from.ID + ">" + to.ID
	tb.mu.Lock()
	cut := tb.cut[link]
	tb.mu.Unlock()
	s := tb.members[to.ID]
	if cut || s == nil || s.member.Identity != to.Identity {
		return
	}
	s.service.Backup(from, epoch, entries, func(e uint32, a Ack) {
		deliver := func() {
			if o := tb.members[from.ID]; o.member.Identity == from {
				o.service.Acked(to.Identity, e, []Ack{a})
			}
		}
		tb.mu.Lock()
		waiting, hold := tb.held[link]
		if hold {
			tb.held[link] = append(waiting, deliver)
		}
		tb.mu.Unlock()
		if !hold {
			deliver()
		}
	})
}

// holdAcks keeps acknowledgements back on a link until deliver.
func (tb *table) holdAcks(link string) {
	tb.mu.Lock()
	tb.held[link] = []func(){}
	tb.mu.Unlock()
}

// deliver delivers the acknowledgements that were held, and holds no more.
func (tb *table) deliver(link string) {
	tb.mu.Lock()
	acks := tb.held[link]
	delete(tb.held, link)
	tb.mu.Unlock()
	for _, f := range acks {
		f()
	}
	synctest.Wait()
}

// loseOps loses operations on a link, or no more.
func (tb *table) loseOps(link string, cut bool) {
	tb.mu.Lock()
	tb.cut[link] = cut
	tb.mu.Unlock()
}

// Active implements Peers.
func (tb *table) Active(_ context.Context, to ring.Member, epoch uint32, partitions []uint32) error {
	s, err := tb.peer(to, epoch)
	if err != nil {
		return err
	}
	return s.Active(epoch, partitions)
}

// ear collects the answers to one request.
type ear struct {
	mu      sync.Mutex
	answers []Answer // guarded by mu
	deaf    atomic.Bool
}

func (e *ear) Answer(_ uint64, a Answer) {
	e.mu.Lock()
	e.answers = append(e.answers, a)
	e.mu.Unlock()
}

func (e *ear) Alive() bool { return !e.deaf.Load() }

// last is the newest answer; its outcome is 0 if there is none.
func (e *ear) last() Answer {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.answers) == 0 {
		return Answer{}
	}
	return e.answers[len(e.answers)-1]
}

// ask sends a request to a member, as if it owned the key, and lets it settle.
func (tb *table) ask(s *seated, r Request) *ear {
	e := &ear{}
	r.Send = 1
	s.service.Submit(ring.PartitionOf(r.Key, testPartitions), Ref{Caller: e, ID: 1}, &r)
	synctest.Wait()
	return e
}

func acquireOf(key, client string, wait time.Duration) Request {
	return Request{Kind: Acquire, Key: key, ClientID: client, RequestID: client + "-1", TTL: 10 * time.Second, Wait: wait}
}

// granted checks that an answer is a grant and gives its token.
func (tb *table) granted(e *ear) sharelock.Token {
	tb.t.Helper()
	a := e.last()
	if a.Outcome != Done || len(a.Holds) != 1 {
		tb.t.Fatalf("answer is %+v, want a grant", a)
	}
	return a.Holds[0].Token
}

func (tb *table) outcome(e *ear, want Outcome, err error) {
	tb.t.Helper()
	a := e.last()
	if a.Outcome != want || !errors.Is(a.Err, err) {
		tb.t.Errorf("answer is %+v, want outcome %d, error %v", a, want, err)
	}
}

// bubble runs a test with a table in a bubble of virtual time.
func bubble(t *testing.T, test func(tb *table)) {
	synctest.Test(t, func(t *testing.T) {
		tb := newTable(t)
		test(tb)
		for _, s := range tb.members {
			if err := s.service.Check(); err != nil {
				t.Error(err)
			}
			s.service.Stop()
		}
	})
}
