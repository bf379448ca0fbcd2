package owner

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/virtual"
	"github.com/sgkandale/sharelock/ring"
)

// This file is the table: a mesh of services without a mesh, on which views are
// dealt by hand. What passes between the members is in table_links_test.go, what
// is said to clients in table_clients_test.go. The tests at it are in
// service_test.go, replicate_test.go and the schedules.

const testPartitions = 64

// table is a mesh of services in one bubble: views are dealt by hand, and messages
// between members are calls unless a gate stops them.
type table struct {
	t       *testing.T
	start   time.Time
	history ring.History
	members map[string]*seated

	// replicas is R of the views that are dealt; 0 is 1.
	replicas int
	// release is that of the views that are dealt.
	release uint32
	// rates are how fast the clocks of processes run that are not exact.
	rates map[string]float64

	links links
	judge *judge
}

// seated is one process at the table.
type seated struct {
	table   *table
	member  ring.Member
	service *Service
	// rate is how fast its clock runs; 1 is exact.
	rate float64
	// ownLeases: installing a view gives no lease.
	ownLeases bool
	crashed   atomic.Bool
	// installing serialises installs, so that nobody is asked in the middle of one
	// and asks again a moment later.
	installing sync.Mutex
	// pause is called at the named points of the service.
	pause atomic.Pointer[func(point string)]
	// unknown counts what the service has met and does not know (W3); strange is the
	// last of it.
	unknown atomic.Int64
	strange atomic.Pointer[error]
}

func newTable(t *testing.T) *table {
	return &table{t: t, start: time.Now(), members: map[string]*seated{}, judge: newJudge(t)}
}

// pass lets time pass, and what is due then settle.
func (tb *table) pass(d time.Duration) {
	time.Sleep(d)
	tb.rest()
}

func (tb *table) clock() time.Duration { return time.Since(tb.start) }

// clock is the time on the member's own clock.
func (s *seated) clock() time.Duration {
	return time.Duration(float64(s.table.clock()) * s.rate)
}

// config is that of a process at the table.
func (s *seated) config() Config {
	return Config{
		Self: s.member.Identity, Name: s.member.Name, Partitions: testPartitions, MaxTTL: 30 * time.Second, MaxWaiters: 100, Shards: 2,
		Clock: s.clock, Peers: s, Log: slog.New(slog.DiscardHandler),
		Pause: func(point string) {
			if f := s.pause.Load(); f != nil {
				(*f)(point)
			}
		},
		Unknown: func(err error) {
			s.unknown.Add(1)
			s.strange.Store(&err)
		},
	}
}

// process starts a process; starting a name again makes its next incarnation.
func (tb *table) process(name string) *seated {
	id := ring.Identity{ID: name, Counter: 1, Nonce: 1}
	if old := tb.members[name]; old != nil {
		id.Counter = old.member.Counter + 1
	}
	s := &seated{table: tb, member: ring.Member{Identity: id, Name: name}, rate: cmp.Or(tb.rates[name], 1)}
	s.service = NewService(s.config())
	tb.t.Cleanup(s.service.Stop)
	tb.members[name] = s
	return s
}

// seat starts a process for every letter of names, with R of the views to come.
func (tb *table) seat(names string, replicas int) []*seated {
	tb.replicas = replicas
	var seats []*seated
	for _, n := range names {
		seats = append(seats, tb.process(string(n)))
	}
	return seats
}

// crash ends a process: it says nothing any more, and its memory is lost.
func (s *seated) crash() {
	s.table.rest()
	s.crashed.Store(true)
	s.service.Stop()
}

// view deals the next view to those of its members that are named in to, or to
// all, and waits until everything is at rest. A member with a minus before its
// name is leaving: it is in the view, but off the ring.
func (tb *table) view(names []string, to ...string) uint32 {
	tb.history = tb.history.Append(tb.next(names))
	if to == nil {
		to = names
	}
	for _, n := range to {
		tb.install(tb.members[strings.TrimPrefix(n, "-")])
	}
	tb.rest()
	return tb.history.Current().Epoch
}

// deal is view with names of one letter each.
func (tb *table) deal(members string, to ...string) uint32 {
	return tb.view(letters(members), to...)
}

// letters splits "-abc" into "-a", "b" and "c".
func letters(members string) []string {
	var names []string
	minus := ""
	for _, c := range members {
		if c == '-' {
			minus = "-"
			continue
		}
		names = append(names, minus+string(c))
		minus = ""
	}
	return names
}

// next is the view that follows the newest one.
func (tb *table) next(names []string) ring.View {
	v := ring.View{Epoch: tb.history.Current().Epoch + 1, Replicas: max(tb.replicas, 1), Placement: ring.Placement, Release: tb.release}
	for _, n := range names {
		name := strings.TrimPrefix(n, "-")
		m := ring.Member{Identity: ring.Identity{ID: name}}
		if s := tb.members[name]; s != nil {
			m = s.member
		}
		m.Leaving = name != n
		v.Members = append(v.Members, m)
	}
	return v
}

// install brings a member to the newest view.
func (tb *table) install(s *seated) {
	s.installing.Lock()
	defer s.installing.Unlock()
	tb.installLocked(s)
}

func (tb *table) installLocked(s *seated) {
	r, err := ring.Build(tb.history.Current(), testPartitions)
	if err != nil {
		tb.t.Error(err)
		return
	}
	if !s.ownLeases {
		s.service.SetLease(s.clock() + time.Hour)
	}
	s.service.Install(tb.history, r)
}

// keyFor finds a key of which the ring names the replica sets that a schedule
// demands: "abc:ab" says that in a view of a, b and c they are a, the owner, and
// b. The views are as for deal; of longer sets only the beginning is compared.
func (tb *table) keyFor(demands ...string) string {
	tb.t.Helper()
	fits := map[uint32]int{}
	for _, d := range demands {
		members, set, _ := strings.Cut(d, ":")
		r, err := ring.Build(tb.next(letters(members)), testPartitions)
		if err != nil {
			tb.t.Fatal(err)
		}
		for p := range uint32(testPartitions) {
			if strings.HasPrefix(names(r.Replicas(p)), set) {
				fits[p]++
			}
		}
	}
	for i := range 10000 {
		if k := fmt.Sprintf("k%d", i); fits[ring.PartitionOf(k, testPartitions)] == len(demands) {
			return k
		}
	}
	tb.t.Fatalf("no key has the replica sets %v", demands)
	return ""
}

func names(members []ring.Member) string {
	s := ""
	for _, m := range members {
		s += m.ID
	}
	return s
}

// owner is who owns the key in the newest view.
func (tb *table) owner(key string) *seated { return tb.set(key)[0] }

// set is the replica set of a key in the newest view.
func (tb *table) set(key string) []*seated {
	r, err := ring.Build(tb.history.Current(), testPartitions)
	if err != nil {
		tb.t.Fatal(err)
	}
	var set []*seated
	for _, m := range r.Replicas(r.Partition(key)) {
		set = append(set, tb.members[m.ID])
	}
	return set
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

// copyOf is the encoded copy that a member holds of a key's partition.
func (tb *table) copyOf(s *seated, key string) []byte {
	var data []byte
	s.service.inShard(ring.PartitionOf(key, testPartitions), func(_ *shard, p *partition) {
		if p.m != nil {
			data = p.m.Encode(0)
		}
	})
	return data
}

// have is what a member answers to an ask about a key's partition; the zero Held
// is the empty copy.
func (tb *table) have(s *seated, key string) Held {
	tb.t.Helper()
	held, err := s.service.Ask(s.service.Epoch(), []uint32{ring.PartitionOf(key, testPartitions)})
	if err != nil {
		tb.t.Fatal(err)
	}
	if len(held) == 0 {
		return Held{}
	}
	return held[0]
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
	t.Helper()
	virtual.Test(t, func(t *testing.T) {
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
