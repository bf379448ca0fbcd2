package mesh

import (
	"context"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sgkandale/sharelock/internal/clock"
	"github.com/sgkandale/sharelock/internal/release"
	"github.com/sgkandale/sharelock/internal/virtual"
	"github.com/sgkandale/sharelock/mesh/epoch"
	"github.com/sgkandale/sharelock/mesh/identity"
	"github.com/sgkandale/sharelock/mesh/network"
	"github.com/sgkandale/sharelock/mesh/view"
	"github.com/sgkandale/sharelock/owner"
	"github.com/sgkandale/sharelock/ring"
)

// linkNode is as much of the member a, in a view with b, as a link needs.
func linkNode(t *testing.T, on network.Network) *Node {
	t.Helper()
	n := &Node{network: on, clock: clock.Monotonic(), log: quiet(), leaseTo: make(chan struct{}, 1), self: viewOf("a").Members[0].Identity}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	n.stopping = n.ctx.Done()
	n.cfg.Lease = 2 * time.Second
	var err error
	if n.data, err = identity.Open("", release.Own()); err != nil {
		t.Fatal(err)
	}
	n.views = epoch.New(epoch.Config{Lease: n.cfg.Lease, Fits: n.fits, Log: n.log, Follow: func(s view.State) (*owner.Service, error) {
		service := owner.NewService(owner.Config{
			Self: n.self, Name: "a", Partitions: s.Constants().Partitions(), MaxTTL: time.Minute, MaxWaiters: 1, Shards: 1,
			Clock: n.clock, Peers: nobody{}, Log: n.log,
		})
		t.Cleanup(service.Stop)
		return service, nil
	}})
	n.showView(t, 1, "a", "b")
	t.Cleanup(func() {
		n.cancel()
		n.tasks.close()
		if err := n.data.Close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

// showView has the node act in a view.
func (n *Node) showView(t *testing.T, epoch uint32, names ...string) {
	t.Helper()
	views := []ring.View{viewAt(1, "a", "b")}
	if epoch > 1 {
		views = append(views, viewAt(epoch, names...))
	}
	if err := n.views.Offer(view.StateFromProto(answer(epoch, views...).GetHistory())); err != nil {
		t.Fatal(err)
	}
}

// A member that does not read what it is sent keeps neither its link nor this node: not
// when the node stops, not when it is a member no more, and not for ever.
func TestLinkToWhoDoesNotRead(t *testing.T) {
	for what, change := range map[string]func(*testing.T, *Node){
		"the node stops": func(_ *testing.T, n *Node) { n.cancel() },
		"it is evicted":  func(t *testing.T, n *Node) { n.showView(t, 2, "a") },
		"nothing else":   func(*testing.T, *Node) {},
	} {
		t.Run(what, func(t *testing.T) {
			virtual.Test(t, func(t *testing.T) {
				n := linkNode(t, nil)
				near, far := net.Pipe()
				defer near.Close() //nolint:errcheck // of a pipe
				n.tasks.Go(func() {
					_ = n.serveLink(newFrames(far, linkSilence*n.lease()), viewOf("a", "b").Members[1].Identity.String())
				})
				f := newFrames(near, time.Hour)
				if err := f.Send(appendLinkPing(nil)); err != nil { // its pong is never read
					t.Fatal(err)
				}
				synctest.Wait()
				change(t, n)
				time.Sleep(2 * linkSilence * n.lease())
				ended := make(chan struct{})
				go func() { n.tasks.close(); close(ended) }()
				synctest.Wait()
				select {
				case <-ended:
				default:
					t.Error("the link is still served")
					_ = near.Close()
				}
			})
		})
	}
}

// deafNet is a network whose streams take everything and answer nothing.
type deafNet struct {
	network.Network
	dials atomic.Int32
	ends  sync.WaitGroup
}

// Dial implements Network.
func (d *deafNet) Dial(context.Context, string) (net.Conn, error) {
	d.dials.Add(1)
	near, far := net.Pipe()
	d.ends.Go(func() { _, _ = io.Copy(io.Discard, far) })
	return near, nil
}

// V6: whoever waits for a single call, sent once, complains after a second for as long as
// the call is wanted and nothing is heard; and not when the member answers pings.
func TestSingleCallComplains(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		deaf := &deafNet{}
		n := linkNode(t, deaf)
		if err := n.promise([]byte("one"), ring.Identity{}); err != nil {
			t.Fatal(err)
		}
		l := newLink(n, viewOf("a", "b").Members[1])
		complains := func(want bool, when string) {
			t.Helper()
			synctest.Wait()
			if got := l.stuck(n.clock() - complainAfter(n.lease())); got != want {
				t.Errorf("%s: complains %t, want %t", when, got, want)
			}
		}
		time.Sleep(time.Second) // a clock says 0 at no other time
		id := l.register(owner.Ref{Caller: &told{}, ID: 1})
		l.send(id, 1, &owner.Request{Kind: owner.RenewMany, Key: "k"})
		time.Sleep(complainAfter(n.lease()))
		complains(false, "in the first second")
		for range 3 { // sent a second ago, and two, and three
			time.Sleep(time.Second)
			complains(true, "while the call waits")
		}
		l.heard()
		complains(false, "once something is heard")
		time.Sleep(complainAfter(n.lease()) + time.Second)
		complains(false, "a call that waits on a member that is there")

		l.send(id, 1, &owner.Request{Kind: owner.RenewMany, Key: "k"})
		time.Sleep(complainAfter(n.lease()) + time.Second)
		complains(true, "sent once more")
		l.forget(id)
		complains(false, "a call that nobody wants any more")
		l.close()
		n.tasks.close()
		deaf.ends.Wait()
	})
}

// told counts answers.
type told struct{ answers atomic.Int32 }

func (c *told) Answer(_ uint64, a owner.Answer) {
	if a.Outcome == owner.Retry {
		c.answers.Add(1)
	}
}
func (*told) Alive() bool { return true }

// A link on which nothing is heard is opened anew, and what was sent on it is answered
// Retry: the way of its stream may be gone while there is another. An idle one is no
// better.
func TestLinkToNowhere(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		deaf := &deafNet{}
		n := linkNode(t, deaf)
		if err := n.promise([]byte("one"), ring.Identity{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second) // a clock says 0 at no other time
		l := newLink(n, viewOf("a", "b").Members[1])
		var c told
		id := l.register(owner.Ref{Caller: &c, ID: 1})
		l.send(id, 1, &owner.Request{Kind: owner.RenewMany, Key: "k"})
		within := (linkSilence + 1) * n.lease()
		time.Sleep(within)
		if deaf.dials.Load() != 2 || c.answers.Load() != 1 {
			t.Errorf("after %v: %d dials, %d answers, want 2 and 1", within, deaf.dials.Load(), c.answers.Load())
		}
		idle := idlePings*n.lease()/8 + within
		time.Sleep(2 * idle)
		if dials := deaf.dials.Load(); dials < 3 {
			t.Errorf("the idle link was dialled %d times", dials)
		}
		l.close()
		n.tasks.close()
		deaf.ends.Wait()
	})
}

// answering are frames of a link whose other end answers every frame, if it answers.
type answering struct {
	Frames // what nobody sees
	mute   atomic.Bool
	sent   atomic.Int32
	pongs  chan struct{}
	closed chan struct{}
	once   sync.Once
}

// Send implements Frames.
func (f *answering) Send([]byte) error {
	f.sent.Add(1)
	if !f.mute.Load() {
		f.pongs <- struct{}{}
	}
	return nil
}

// Recv implements Frames.
func (f *answering) Recv() ([]byte, error) {
	select {
	case <-f.pongs:
		return appendLinkPing(nil), nil
	case <-f.closed:
		return nil, net.ErrClosed
	}
}

// Close implements Frames.
func (f *answering) Close() error {
	f.once.Do(func() { close(f.closed) })
	return f.Frames.Close()
}

// A link with nothing to ask pings as seldom as idlePings says, also after it had
// something; while it waits for an answer it pings every eighth of a lease.
func TestLinkPings(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		deaf := &deafNet{}
		n := linkNode(t, deaf)
		f := &answering{pongs: make(chan struct{}, 1), closed: make(chan struct{})}
		n.cfg.Links = func(_ string, inner Frames) Frames {
			f.Frames = inner
			return f
		}
		if err := n.promise([]byte("one"), ring.Identity{}); err != nil {
			t.Fatal(err)
		}
		l := newLink(n, viewOf("a", "b").Members[1])
		every := n.lease() / 8
		pings := func(what string, during time.Duration, least, most int32) {
			t.Helper()
			before := f.sent.Load()
			time.Sleep(during)
			if got := f.sent.Load() - before; got < least || got > most {
				t.Errorf("%s: %d pings in %v, want %d to %d", what, got, during, least, most)
			}
		}
		call := func() {
			time.Sleep(every / 2) // not when a ping is due
			l.send(l.register(owner.Ref{Caller: &told{}, ID: 1}), 1, &owner.Request{Kind: owner.RenewMany, Key: "k"})
			synctest.Wait()
		}
		const turns = 10
		idle := turns * (idlePings + 1) * every
		call() // opens the link
		pings("idle", idle, turns-1, turns+1)
		call()
		pings("idle again", idle, turns-1, turns+1)
		f.mute.Store(true)
		call()
		pings("unanswered", 10*every, 9, 11)
		l.close()
		n.tasks.close()
		deaf.ends.Wait()
	})
}
