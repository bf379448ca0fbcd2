package owner

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/sgkandale/sharelock/ring"
)

// benchMesh is a mesh of services whose members call each other directly, in real
// time.
type benchMesh struct {
	b       *testing.B
	history ring.History
	members []*benchMember
	began   time.Time
}

type benchMember struct {
	mesh    *benchMesh
	member  ring.Member
	service *Service
}

func newBenchMesh(b *testing.B, members, locks int) *benchMesh {
	mesh := &benchMesh{b: b, began: time.Now()}
	for i := range members {
		name := fmt.Sprint("node-", i)
		m := &benchMember{mesh: mesh, member: ring.Member{Identity: ring.Identity{ID: name, Counter: 1, Nonce: 1}, Name: name}}
		m.service = NewService(Config{
			Self: m.member.Identity, Name: name, Partitions: 1024, MaxTTL: time.Hour, MaxWaiters: 1, Shards: 4,
			Clock: func() time.Duration { return time.Since(mesh.began) }, Peers: m, Log: slog.New(slog.DiscardHandler),
		})
		b.Cleanup(m.service.Stop)
		mesh.members = append(mesh.members, m)
	}
	r := mesh.next()
	var done sync.WaitGroup
	for i := range locks {
		key := fmt.Sprintf("key-%012d", i)
		p := ring.PartitionOf(key, 1024)
		owner, _ := r.Owner(p)
		done.Add(1)
		mesh.of(owner).service.Submit(p, Ref{Caller: granted{&done}}, &Request{
			Kind: Acquire, Key: key, ClientID: "client", RequestID: fmt.Sprintf("request-%08d", i), TTL: time.Hour, Send: 1, OwnID: true,
		})
	}
	done.Wait()
	return mesh
}

// next deals a view of the same members and waits until all partitions are active
// in it.
func (mesh *benchMesh) next() *ring.Ring {
	v := ring.View{Epoch: mesh.history.Current().Epoch + 1, Replicas: min(2+len(mesh.members)/5, len(mesh.members)), Placement: ring.Placement}
	for _, m := range mesh.members {
		v.Members = append(v.Members, m.member)
	}
	mesh.history = mesh.history.Append(v)
	r, err := ring.Build(v, 1024)
	if err != nil {
		mesh.b.Fatal(err)
	}
	var all sync.WaitGroup
	for _, m := range mesh.members {
		all.Go(func() { m.install(mesh.history, r) })
	}
	all.Wait()
	for _, m := range mesh.members {
		for {
			changed := m.service.Changed()
			if st := m.service.Stats(); st.Active == st.Owned {
				break
			}
			<-changed
		}
	}
	return r
}

func (mesh *benchMesh) of(to ring.Member) *benchMember {
	for _, m := range mesh.members {
		if m.member.ID == to.ID {
			return m
		}
	}
	return nil
}

func (m *benchMember) install(h ring.History, r *ring.Ring) {
	m.service.Install(h, r)
	m.service.SetLease(time.Since(m.mesh.began) + time.Hour)
}

// granted waits for grants.
type granted struct{ *sync.WaitGroup }

func (g granted) Alive() bool { return true }
func (g granted) Answer(_ uint64, a Answer) {
	if a.Outcome != Done {
		panic(fmt.Sprintf("%+v", a))
	}
	g.Done()
}

func (m *benchMember) Ask(_ context.Context, to ring.Member, epoch uint32, partitions []uint32) ([]Held, error) {
	return m.mesh.of(to).service.Ask(epoch, partitions)
}

func (m *benchMember) Fetch(_ context.Context, to ring.Member, epoch uint32, wants []Want) ([]Piece, error) {
	return m.mesh.of(to).service.Fetch(epoch, wants)
}

func (m *benchMember) Sync(_ context.Context, to ring.Member, epoch uint32, bases []Base) ([]Taken, error) {
	return m.mesh.of(to).service.Sync(m.member.Identity, epoch, bases)
}

func (m *benchMember) Active(_ context.Context, to ring.Member, epoch uint32, partitions []uint32) error {
	return m.mesh.of(to).service.Active(epoch, partitions)
}

func (m *benchMember) Replicate(to ring.Member, epoch uint32, entries []Entries) {
	m.mesh.of(to).service.Backup(m.member.Identity, epoch, slices.Clone(entries), func(e uint32, a Ack) {
		m.service.Acked(to.Identity, e, []Ack{a})
	})
}

// BenchmarkViewChange is a new view of the same members, from its installation until
// all partitions are active in it, while so many locks are held.
func BenchmarkViewChange(b *testing.B) {
	for _, members := range []int{3, 5} {
		for _, locks := range []int{0, 100_000} {
			b.Run(fmt.Sprintf("members=%d/locks=%d", members, locks), func(b *testing.B) {
				mesh := newBenchMesh(b, members, locks)
				b.ReportAllocs()
				for b.Loop() {
					mesh.next()
				}
			})
		}
	}
}
