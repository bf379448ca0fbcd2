package link

import (
	"context"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sgkandale/sharelock/internal/release"
	"github.com/sgkandale/sharelock/internal/virtual"
	"github.com/sgkandale/sharelock/mesh/epoch/epochtest"
	"github.com/sgkandale/sharelock/owner"
	"github.com/sgkandale/sharelock/ring"
)

// rig is the member a, in a view with b, with its links and nothing else of a node.
type rig struct {
	*Links
	cancel context.CancelFunc
	tasks  sync.WaitGroup
}

func newRig(t *testing.T, dial func(context.Context, string) (net.Conn, error)) *rig {
	t.Helper()
	r := &rig{}
	began := time.Now()
	clock := func() time.Duration { return time.Since(began) }
	views, stop := epochtest.New("a", clock)
	var ctx context.Context
	ctx, r.cancel = context.WithCancel(context.Background())
	r.Links = New(Config{
		Self: epochtest.Member("a").Identity, Cluster: func() []byte { return epochtest.Cluster }, Releases: release.Own(), Dial: dial,
		Views: views, Clock: clock, Spawn: func(fn func()) bool { r.tasks.Go(fn); return true }, Context: ctx, Log: slog.New(slog.DiscardHandler),
	})
	r.show(t, epochtest.View(1, "a", "b"))
	t.Cleanup(func() {
		r.cancel()
		r.Close()
		r.tasks.Wait()
		stop()
	})
	return r
}

// show has the member act in the last of these views.
func (r *rig) show(t *testing.T, views ...ring.View) {
	t.Helper()
	if err := r.cfg.Views.Offer(epochtest.State(views...)); err != nil {
		t.Fatal(err)
	}
}

// A member that does not read what it is sent keeps neither its link nor this node: not
// when the node stops, not when it is a member no more, and not for ever.
func TestLinkToWhoDoesNotRead(t *testing.T) {
	for what, change := range map[string]func(*testing.T, *rig){
		"the node stops": func(_ *testing.T, r *rig) { r.cancel() },
		"it is evicted":  func(t *testing.T, r *rig) { r.show(t, epochtest.View(1, "a", "b"), epochtest.View(2, "a")) },
		"nothing else":   func(*testing.T, *rig) {},
	} {
		t.Run(what, func(t *testing.T) {
			virtual.Test(t, func(t *testing.T) {
				r := newRig(t, nil)
				near, far := net.Pipe()
				defer near.Close() //nolint:errcheck // of a pipe
				r.tasks.Go(func() {
					_ = r.serve(newFrames(far, silence*epochtest.Lease), epochtest.Member("b").Identity.String())
				})
				f := newFrames(near, time.Hour)
				if err := f.Send(appendPing(nil)); err != nil { // its pong is never read
					t.Fatal(err)
				}
				synctest.Wait()
				change(t, r)
				time.Sleep(2 * silence * epochtest.Lease)
				ended := make(chan struct{})
				go func() { r.tasks.Wait(); close(ended) }()
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
	dials atomic.Int32
	ends  sync.WaitGroup
}

func (d *deafNet) dial(context.Context, string) (net.Conn, error) {
	d.dials.Add(1)
	near, far := net.Pipe()
	d.ends.Go(func() { _, _ = io.Copy(io.Discard, far) })
	return near, nil
}

// V6: whoever waits for a single call, sent once, complains after a second for as long as
// the call is wanted and nothing is heard; and not when the member answers pings.
func TestSingleCallComplains(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		const long = time.Second // see complainAfter in package mesh
		deaf := &deafNet{}
		r := newRig(t, deaf.dial)
		l := newLink(r.Links, epochtest.Member("b"))
		complains := func(want bool, when string) {
			t.Helper()
			synctest.Wait()
			if got := l.stuck(r.cfg.Clock() - long); got != want {
				t.Errorf("%s: complains %t, want %t", when, got, want)
			}
		}
		time.Sleep(time.Second) // a clock says 0 at no other time
		id := l.Register(owner.Ref{Caller: &told{}, ID: 1})
		l.Send(id, 1, &owner.Request{Kind: owner.RenewMany, Key: "k"})
		time.Sleep(long)
		complains(false, "in the first second")
		for range 3 { // sent a second ago, and two, and three
			time.Sleep(time.Second)
			complains(true, "while the call waits")
		}
		l.heard(r.cfg.Clock(), false)
		complains(false, "once something is heard")
		time.Sleep(long + time.Second)
		complains(false, "a call that waits on a member that is there")

		l.Send(id, 1, &owner.Request{Kind: owner.RenewMany, Key: "k"})
		time.Sleep(long + time.Second)
		complains(true, "sent once more")
		l.Forget(id)
		complains(false, "a call that nobody wants any more")
		l.close()
		r.tasks.Wait()
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
		r := newRig(t, deaf.dial)
		time.Sleep(time.Second) // a clock says 0 at no other time
		l := newLink(r.Links, epochtest.Member("b"))
		var c told
		id := l.Register(owner.Ref{Caller: &c, ID: 1})
		l.Send(id, 1, &owner.Request{Kind: owner.RenewMany, Key: "k"})
		within := (silence + 1) * epochtest.Lease
		time.Sleep(within)
		if deaf.dials.Load() != 2 || c.answers.Load() != 1 {
			t.Errorf("after %v: %d dials, %d answers, want 2 and 1", within, deaf.dials.Load(), c.answers.Load())
		}
		idle := idlePings*epochtest.Lease/8 + within
		time.Sleep(2 * idle)
		if dials := deaf.dials.Load(); dials < 3 {
			t.Errorf("the idle link was dialled %d times", dials)
		}
		l.close()
		r.tasks.Wait()
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
		return appendPing(nil), nil
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
		r := newRig(t, deaf.dial)
		f := &answering{pongs: make(chan struct{}, 1), closed: make(chan struct{})}
		r.cfg.Wrap = func(_ string, inner Frames) Frames {
			f.Frames = inner
			return f
		}
		l := newLink(r.Links, epochtest.Member("b"))
		every := epochtest.Lease / 8
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
			l.Send(l.Register(owner.Ref{Caller: &told{}, ID: 1}), 1, &owner.Request{Kind: owner.RenewMany, Key: "k"})
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
		r.tasks.Wait()
		deaf.ends.Wait()
	})
}
