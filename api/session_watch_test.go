package api

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/auth"
	"github.com/sgkandale/sharelock/internal/event"
	"github.com/sgkandale/sharelock/internal/sessionwire"
	"github.com/sgkandale/sharelock/internal/virtual"
	pb "github.com/sgkandale/sharelock/proto/sharelock/v1"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// watchNode is a node whose watches are a function.
type watchNode struct {
	*fakeNode
	watch func(ctx context.Context, r sharelock.WatchRequest, send func([]*event.Event) error) error
}

func (n *watchNode) Watch(ctx context.Context, r sharelock.WatchRequest, send func([]*event.Event) error) error {
	return n.watch(ctx, r, send)
}

// idle is a watch that tells that it has begun, and no more.
func idle(ctx context.Context, r sharelock.WatchRequest, send func([]*event.Event) error) error {
	if err := send([]*event.Event{event.New(&sharelock.Event{Type: sharelock.Synced, Key: r.Key})}); err != nil {
		return err
	}
	<-ctx.Done()
	return context.Cause(ctx)
}

// watched is what a watch of a session has told: the keys of its events, and its end.
type watched struct {
	events []sharelock.Event
	ended  bool
	why    error
}

// watchTalk follows the watches of a session.
type watchTalk struct {
	*talk
	seen map[uint64]*watched
}

func (k *watchTalk) watch(id uint64, r *pb.WatchRequest) {
	k.t.Helper()
	if err := k.Send(&pb.SessionRequest{Watch: []*pb.SessionWatch{{Id: id, Watch: r}}}); err != nil {
		k.t.Fatal(err)
	}
}

func (k *watchTalk) unwatch(ids ...uint64) {
	k.t.Helper()
	if err := k.Send(&pb.SessionRequest{Unwatch: ids}); err != nil {
		k.t.Fatal(err)
	}
}

// until reads messages until a watch has told so much, or has ended if n is negative, and returns what it has told.
func (k *watchTalk) until(id uint64, n int) *watched {
	k.t.Helper()
	for {
		w := k.of(id)
		if w.ended || n >= 0 && len(w.events) >= n {
			return w
		}
		m, err := k.Recv()
		if err != nil {
			k.t.Fatalf("watch %d has told %+v: %v", id, w, err)
		}
		for _, e := range m.GetEvents() {
			w := k.of(e.GetId())
			if w.ended {
				k.t.Errorf("watch %d told %v after its end", e.GetId(), e)
			}
			for _, one := range e.GetEvents() {
				w.events = append(w.events, pb.EventFromProto(one))
			}
			if e.GetEnded() != nil {
				w.ended, w.why = true, statusError(k.t, e.GetEnded())
			}
		}
	}
}

func (k *watchTalk) of(id uint64) *watched {
	if k.seen[id] == nil {
		k.seen[id] = &watched{}
	}
	return k.seen[id]
}

// over reads until a watch has ended, and forgets it.
func (k *watchTalk) over(id uint64) *watched {
	k.t.Helper()
	w := k.until(id, -1)
	delete(k.seen, id)
	return w
}

// statusError returns the error of a google.rpc.Status in its wire format.
func statusError(t *testing.T, b []byte) error {
	t.Helper()
	var st spb.Status
	if err := proto.Unmarshal(b, &st); err != nil {
		t.Fatal(err)
	}
	return pb.FromError(status.ErrorProto(&st))
}

// A session says in its first message that it takes watches. They tell the same as a watch of gRPC, and why
// they have ended; then their ids are free.
func TestSessionWatch(t *testing.T) { bothWays(t, testSessionWatch) }

func testSessionWatch(t *testing.T, open open) {
	node := newFake()
	node.set(watching)
	c := dialFake(t, node, Options{})
	k := &watchTalk{open(t, c, t.Context()), map[uint64]*watched{}}
	if err := k.Send(&pb.SessionRequest{Ping: true}); err != nil {
		t.Fatal(err)
	}
	if m, err := k.Recv(); err != nil || !m.GetWatches() {
		t.Fatalf("%v, %v", m, err)
	}
	for range 2 {
		k.watch(7, &pb.WatchRequest{Prefix: "k", Resume: "5.8"})
		w := k.over(7)
		if !errors.Is(w.why, sharelock.ErrInternal) {
			t.Errorf("it ended with %v", w.why)
		}
		var want []sharelock.Event
		for _, batch := range node.events {
			for _, e := range batch {
				want = append(want, *e)
			}
		}
		if fmt.Sprint(w.events) != fmt.Sprint(want) {
			t.Errorf("got\n%+v, want\n%+v", w.events, want)
		}
		if want := (sharelock.WatchRequest{Prefix: "k", Resume: "5.8"}); node.watched != want {
			t.Errorf("watched %+v, want %+v", node.watched, want)
		}
	}
}

// A client ends a watch; others go on, and so do calls.
func TestSessionUnwatch(t *testing.T) { bothWays(t, testSessionUnwatch) }

func testSessionUnwatch(t *testing.T, open open) {
	ends := make(chan error, 10)
	c := dialFake(t, &watchNode{newFake(), func(ctx context.Context, r sharelock.WatchRequest, send func([]*event.Event) error) error {
		err := idle(ctx, r, send)
		ends <- err
		return err
	}}, Options{})
	ctx, cancel := context.WithCancel(t.Context())
	k := &watchTalk{open(t, c, ctx), map[uint64]*watched{}}
	k.watch(1, &pb.WatchRequest{Key: "a"})
	k.watch(2, &pb.WatchRequest{Key: "b"})
	k.until(1, 1)
	k.until(2, 1)
	k.unwatch(1, 99)
	if w := k.over(1); !errors.Is(w.why, context.Canceled) {
		t.Errorf("it ended with %v", w.why)
	}
	if err := <-ends; !errors.Is(err, context.Canceled) {
		t.Errorf("the node's watch ended with %v", err)
	}
	k.send(acquireCall(1, "k", 0))
	if _, err := k.answer(); err != nil {
		t.Error(err)
	}
	k.watch(1, &pb.WatchRequest{Key: "c"}) // the id is free
	if w := k.until(1, 1); w.events[0].Key != "c" || k.of(2).ended {
		t.Errorf("got %+v and %+v", w, k.of(2))
	}
	// The end of the session ends the others.
	cancel()
	for range 2 {
		if err := <-ends; !errors.Is(err, context.Canceled) {
			t.Errorf("the node's watch ended with %v", err)
		}
	}
}

// A session has a bounded number of watches, and an id is that of one of them.
func TestSessionManyWatches(t *testing.T) { bothWays(t, testSessionManyWatches) }

func testSessionManyWatches(t *testing.T, open open) {
	c := dialFake(t, &watchNode{newFake(), idle}, Options{})
	k := &watchTalk{open(t, c, t.Context()), map[uint64]*watched{}}
	m := &pb.SessionRequest{}
	for id := range uint64(maxWatches) {
		m.Watch = append(m.Watch, &pb.SessionWatch{Id: id, Watch: &pb.WatchRequest{Key: fmt.Sprint(id)}})
	}
	if err := k.Send(m); err != nil {
		t.Fatal(err)
	}
	for id := range uint64(maxWatches) {
		if w := k.until(id, 1); w.ended || w.events[0].Key != fmt.Sprint(id) {
			t.Fatalf("watch %d: %+v", id, w)
		}
	}
	k.watch(maxWatches, &pb.WatchRequest{Key: "k"})
	if w := k.over(maxWatches); !errors.Is(w.why, sharelock.ErrQuota) || status.Code(pb.ToStatus(w.why).Err()) != codes.ResourceExhausted {
		t.Errorf("one too many ended with %v", w.why)
	}
	k.watch(5, &pb.WatchRequest{Key: "k"})
	if w := k.over(5); !errors.Is(w.why, sharelock.ErrInvalidArgument) {
		t.Errorf("one with the id of another ended with %v", w.why)
	}
	k.unwatch(7)
	if w := k.over(7); !errors.Is(w.why, context.Canceled) {
		t.Errorf("7 ended with %v", w.why)
	}
	k.watch(maxWatches, &pb.WatchRequest{Key: "k"})
	if w := k.until(maxWatches, 1); w.ended {
		t.Errorf("after another has ended: %v", w.why)
	}
}

// A node that drains ends its watches, and says so before the stream ends.
func TestSessionWatchDrains(t *testing.T) { bothWays(t, testSessionWatchDrains) }

func testSessionWatchDrains(t *testing.T, open open) {
	virtual.Test(t, func(t *testing.T) {
		c := dialFake(t, &watchNode{newFake(), idle}, Options{})
		k := &watchTalk{open(t, c, t.Context()), map[uint64]*watched{}}
		k.watch(1, &pb.WatchRequest{Key: "k"})
		k.until(1, 1)
		shut := make(chan error, 1)
		go func() { shut <- c.server.Shutdown(t.Context()) }()
		if w := k.over(1); !errors.Is(w.why, sharelock.ErrNotReady) {
			t.Errorf("it ended with %v", w.why)
		}
		if _, err := k.Recv(); status.Code(err) != codes.Unavailable {
			t.Errorf("the stream ended with %v", err)
		}
		if err := <-shut; err != nil {
			t.Errorf("Shutdown: %v", err)
		}
	})
}

// A watch that panics ends with an internal error, and nothing else ends.
func TestSessionWatchPanics(t *testing.T) {
	c := dialFake(t, &watchNode{newFake(), func(context.Context, sharelock.WatchRequest, func([]*event.Event) error) error {
		panic("as the test wants it")
	}}, Options{})
	k := &watchTalk{openPlain(t, c, t.Context()), map[uint64]*watched{}}
	k.watch(1, &pb.WatchRequest{Key: "k"})
	if w := k.over(1); !errors.Is(w.why, sharelock.ErrInternal) {
		t.Errorf("it ended with %v", w.why)
	}
	k.send(acquireCall(1, "k", 0))
	if _, err := k.answer(); err != nil {
		t.Error(err)
	}
}

// endless is a watch that tells events of the key for ever, and counts them in told.
func endless(mu *sync.Mutex, told map[string]int) func(context.Context, sharelock.WatchRequest, func([]*event.Event) error) error {
	return func(ctx context.Context, r sharelock.WatchRequest, send func([]*event.Event) error) error {
		e := event.New(&sharelock.Event{Type: sharelock.Acquired, Key: r.Key, Token: 7, ClientID: "c"})
		for {
			if err := send([]*event.Event{e, e, e}); err != nil {
				return err
			}
			mu.Lock()
			told[r.Key] += 3
			mu.Unlock()
		}
	}
}

// quietSession is a session without reader and writer.
func quietSession(t *testing.T, watch func(context.Context, sharelock.WatchRequest, func([]*event.Event) error) error) *session {
	s := &session{wake: make(chan struct{}, 1), room: make(chan struct{}, 1), watcher: &watchNode{watch: watch}}
	t.Cleanup(func() { s.close(nil) })
	return s
}

// message returns the next message of a session, and of which watches it is.
func message(t *testing.T, s *session) (m *pb.SessionResponse, size int, of string) {
	t.Helper()
	data, _ := s.nextMessage()
	m = &pb.SessionResponse{}
	if err := proto.Unmarshal(data, m); err != nil {
		t.Fatal(err)
	}
	for _, e := range m.GetEvents() {
		of += fmt.Sprint(e.GetId())
	}
	return m, len(data), of
}

// While a client does not read, a watch waits when one message is full, and ends after a while. Watches take
// turns.
func TestSessionWatchUnread(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		told := map[string]int{}
		s := quietSession(t, endless(&mu, told))
		key := strings.Repeat("k", 100)
		for id := range uint64(3) {
			s.watch(t.Context(), &sessionwire.Keep{ID: id, Watch: &sharelock.WatchRequest{Key: fmt.Sprint(id) + key}})
		}
		before := 0
		for i := range 6 {
			synctest.Wait()
			mu.Lock()
			all := 0
			for _, n := range told {
				all += n
			}
			mu.Unlock()
			if all-before > maxEvents/len(key) {
				t.Fatalf("%d events were taken for one message of %d bytes", all-before, maxEvents)
			}
			before = all
			_, size, of := message(t, s)
			if size > maxEvents || size < maxEvents/2 {
				t.Fatalf("a message has %d bytes", size)
			}
			if i > 0 && !(strings.Contains(of, "0") && strings.Contains(of, "1") && strings.Contains(of, "2")) {
				t.Errorf("message %d is of the watches %s", i, of)
			}
		}
		// From now on it reads nothing.
		time.Sleep(3 * stallTime)
		synctest.Wait()
		for ended := 0; ended < 3; {
			m, _, _ := message(t, s)
			synctest.Wait()
			for _, e := range m.GetEvents() {
				if e.GetEnded() == nil {
					continue
				}
				ended++
				if err := statusError(t, e.GetEnded()); !errors.Is(err, sharelock.ErrNotReady) {
					t.Errorf("watch %d ended with %v", e.GetId(), err)
				}
			}
			if len(m.GetEvents()) == 0 {
				t.Fatalf("%d watches have ended, and nothing more is sent", ended)
			}
		}
		if _, quiet := s.nextMessage(); !quiet {
			t.Error("the session is not quiet")
		}
	})
}

// Events are sent when nothing else is waiting, in a message of their own.
func TestSessionWatchIsLast(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		s := quietSession(t, endless(&mu, map[string]int{}))
		s.watch(t.Context(), &sessionwire.Keep{ID: 7, Watch: &sharelock.WatchRequest{Key: "k"}})
		synctest.Wait()
		s.pending = 2
		s.Answer(1, sharelock.Hold{Token: 1}, &sharelock.Error{Err: sharelock.ErrLockHeld, Message: strings.Repeat("long", maxUrgent)})
		for range 2 * fullMessage / 20 {
			s.Answer(2, sharelock.Hold{Token: 1}, nil)
		}
		if len(s.fullUrgent) == 0 || len(s.out) == 0 {
			t.Fatalf("%d full messages, and %d bytes of long answers", len(s.fullUrgent), len(s.out))
		}
		answers := 0
		for answers < 2*fullMessage/20+1 {
			m, _, of := message(t, s)
			if len(m.GetAnswers()) == 0 || of != "" {
				t.Fatalf("after %d answers came events of %q", answers, of)
			}
			answers += len(m.GetAnswers())
		}
		if m, _, of := message(t, s); len(m.GetAnswers()) > 0 || !strings.HasPrefix(of, "7") {
			t.Errorf("then came %d answers and events of %q", len(m.GetAnswers()), of)
		}
		// A watch does not hold up what comes later, either.
		synctest.Wait()
		s.Answer(3, sharelock.Hold{Token: 1}, nil)
		if m, _, of := message(t, s); len(m.GetAnswers()) != 1 || of != "" {
			t.Errorf("got %d answers and events of %q", len(m.GetAnswers()), of)
		}
	})
}

// A client says how much it takes ahead, and then takes more. A watch that waits for that holds up no other.
func TestSessionWatchAhead(t *testing.T) { bothWays(t, testSessionWatchAhead) }

func testSessionWatchAhead(t *testing.T, open open) {
	virtual.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		node := &watchNode{newFake(), endless(&mu, map[string]int{})}
		c := dialFake(t, node, Options{})
		k := &watchTalk{open(t, c, t.Context()), map[uint64]*watched{}}
		for id := range uint64(2) {
			if err := k.Send(&pb.SessionRequest{Watch: []*pb.SessionWatch{{Id: id, Watch: &pb.WatchRequest{Key: "k"}, Ahead: 10}}}); err != nil {
				t.Fatal(err)
			}
		}
		want := map[uint64]int{0: 10, 1: 10}
		for _, read := range []struct {
			id     uint64
			events uint32
			more   int
		}{{0, 0, 0}, {0, 4, 4}, {1, 10, 10}, {9, 5, 0}, {0, 1000, 10}, {1, 1, 1}} {
			m := &pb.SessionRequest{Read: []*pb.SessionRead{{Id: read.id, Events: read.events}}, Ring: true}
			if err := k.Send(m); err != nil {
				t.Fatal(err)
			}
			want[read.id] += read.more
			for id := range uint64(2) {
				k.until(id, want[id])
			}
			synctest.Wait()
			// What comes after this came after all events.
			k.watch(100, &pb.WatchRequest{Key: "x", Prefix: "x"})
			k.unwatch(100)
			k.over(100)
			for id := range uint64(2) {
				if got := len(k.of(id).events); got != want[id] {
					t.Errorf("after %+v watch %d has told %d events, want %d", read, id, got, want[id])
				}
			}
		}
		// One that does not go on reading for long is not watched any longer.
		for id := range uint64(2) {
			if w := k.over(id); !errors.Is(w.why, sharelock.ErrNotReady) {
				t.Errorf("watch %d ended with %v", id, w.why)
			}
		}
	})
}

// A refusal is longer than the watch that it refuses. The reader waits for the client to read it.
func TestSessionManyRefusedWatches(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		drain := make(chan struct{})
		close(drain)
		s := quietSession(t, idle)
		s.drain = drain
		var data []byte
		for id := range uint64(100_000) {
			data = sessionwire.AppendKeep(data, &sessionwire.Keep{Kind: sessionwire.KeepWatch, ID: id, Watch: &sharelock.WatchRequest{}})
		}
		done := make(chan error, 1)
		go func() {
			_, err := s.keep(ctx, &keeps{}, data)
			done <- err
		}()
		synctest.Wait()
		s.mu.Lock()
		if n := len(s.out) + s.fullBytes; n > 2*maxUnsent {
			t.Errorf("%d bytes wait for a client that does not read, of a message of %d", n, len(data))
		}
		s.mu.Unlock()
		cancel()
		if err := <-done; err == nil {
			t.Error("the message was read to its end")
		}
	})
}

// What a session watches is what its caller may read, by its newest credentials.
func TestSessionWatchAccess(t *testing.T) { bothWays(t, testSessionWatchAccess) }

func testSessionWatchAccess(t *testing.T, open open) {
	a := newAuthority(t, accessFile, callers[1:]...)
	telling := make(chan struct{}, 100)
	log, lines := auditTo(t, false)
	c := dialFake(t, &watchNode{newFake(), func(ctx context.Context, r sharelock.WatchRequest, send func([]*event.Event) error) error {
		for {
			err := send([]*event.Event{
				event.New(&sharelock.Event{Type: sharelock.Snapshot, Key: theKey}),
				event.New(&sharelock.Event{Type: sharelock.Snapshot, Key: "other/x"}),
				event.New(&sharelock.Event{Type: sharelock.Synced}),
			})
			if err != nil {
				return err
			}
			select {
			case <-telling:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
	}}, Options{Auth: a.Authority, Audit: log})
	talks := map[string]*watchTalk{}
	for _, name := range []string{"reader", "other", "owner"} {
		k := &watchTalk{open(t, c, t.Context()), map[uint64]*watched{}}
		if err := k.Send(&pb.SessionRequest{Token: a.tokens[name]}); err != nil {
			t.Fatal(err)
		}
		k.watch(1, &pb.WatchRequest{})
		talks[name] = k
	}
	sees := func(name string, id uint64, want string) {
		t.Helper()
		got := ""
		n := len(strings.Split(want, " "))
		for _, e := range talks[name].until(id, n).events {
			if got += " " + e.Key; e.Type == sharelock.Synced {
				got += fmt.Sprint(e.Filtered)
			}
		}
		if delete(talks[name].seen, id); got[1:] != want {
			t.Errorf("%s sees %q, want %q", name, got[1:], want)
		}
	}
	sees("reader", 1, "prod/k other/x false")
	sees("other", 1, "other/x true")
	sees("owner", 1, "prod/k true")
	talks["other"].watch(2, &pb.WatchRequest{Key: theKey})
	if w := talks["other"].over(2); !errors.Is(w.why, sharelock.ErrPermissionDenied) {
		t.Errorf("a key that may not be read: %v", w.why)
	}
	talks["owner"].watch(2, &pb.WatchRequest{Key: theKey})
	sees("owner", 2, "prod/k other/x false") // as the node tells it

	// The rules change: the reader may read less, the owner nothing, and the other is not known any more.
	text := strings.NewReplacer(
		`reader: [{keys: [""], `, `reader: [{keys: ["other/"], `,
		`owner: [{keys: ["prod/"], verbs: [acquire, read]}]`, `owner: [{keys: ["prod/"], verbs: [acquire]}]`,
		"name: other", "name: another",
	).Replace(a.text(t))
	a.write(t, text)
	if err := a.Reload(); err != nil {
		t.Fatal(err)
	}
	for id := uint64(1); id <= 2; id++ {
		if w := talks["owner"].over(id); !errors.Is(w.why, sharelock.ErrPermissionDenied) {
			t.Errorf("watch %d of the owner ended with %v", id, w.why)
		}
	}
	if w := talks["other"].over(1); !errors.Is(w.why, sharelock.ErrUnauthenticated) {
		t.Errorf("the watch of one that is not known any more ended with %v", w.why)
	}
	talks["other"].watch(3, &pb.WatchRequest{})
	if w := talks["other"].over(3); !errors.Is(w.why, sharelock.ErrUnauthenticated) {
		t.Errorf("another watch of it: %v", w.why)
	}
	telling <- struct{}{}
	sees("reader", 1, "other/x true")

	denied := 0
	for _, line := range lines() {
		if line["method"] == pb.LockService_Watch_FullMethodName && line["door"] == "session" && line["key"] == theKey && line["principal"] == "other" {
			denied++
		}
	}
	if denied != 1 {
		t.Errorf("%d lines of the audit log are of the watch that was denied", denied)
	}
}

// A newer token of the same caller lets its watches go on when the older one is taken away.
func TestSessionWatchNewToken(t *testing.T) {
	a := newAuthority(t, accessFile, callers[1:]...)
	c := dialFake(t, &watchNode{newFake(), idle}, Options{Auth: a.Authority})
	k := &watchTalk{openPlain(t, c, t.Context()), map[uint64]*watched{}}
	if err := k.Send(&pb.SessionRequest{Token: a.tokens["reader"]}); err != nil {
		t.Fatal(err)
	}
	k.watch(1, &pb.WatchRequest{Key: "k"})
	k.until(1, 1)
	old := a.text(t)
	const tokens = "name: reader, policies: [reader], tokens: ["
	_, was, _ := strings.Cut(old, tokens)
	was, _, _ = strings.Cut(was, "]")
	token, stored := auth.NewToken()
	a.write(t, strings.Replace(old, was, was+", \""+stored+"\"", 1))
	if err := a.Reload(); err != nil {
		t.Fatal(err)
	}
	if err := k.Send(&pb.SessionRequest{Token: token}); err != nil {
		t.Fatal(err)
	}
	k.watch(2, &pb.WatchRequest{Key: "k"})
	k.until(2, 1) // the node has read the token
	a.write(t, strings.Replace(old, was, "\""+stored+"\"", 1))
	if err := a.Reload(); err != nil {
		t.Fatal(err)
	}
	k.watch(3, &pb.WatchRequest{Key: "k"})
	if k.until(3, 1); k.of(1).ended || k.of(2).ended || k.of(3).ended {
		t.Errorf("watches ended: %v, %v, %v", k.of(1).why, k.of(2).why, k.of(3).why)
	}
}
