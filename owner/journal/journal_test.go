package journal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/owner/ops"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// rig is a running journal with a pen.
type rig struct {
	*Journal
	*Pen
	t testing.TB
	// seq is the sequence number of the last op of partition 1, and epoch its epoch.
	seq   uint64
	epoch uint32
	stop  func()
}

func run(t testing.TB, cfg Config) *rig {
	t.Helper()
	cfg.Partitions, cfg.Log = 16, slog.New(slog.DiscardHandler)
	if cfg.MaxBytes == 0 {
		cfg.MaxBytes, cfg.Keep = 64<<20, time.Hour
	}
	j, err := Open(cfg)
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		j.Run(ctx)
	}()
	r := &rig{Journal: j, Pen: j.Pen(), t: t}
	stopped := false
	r.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		<-ended
		must(t, j.Close())
	}
	t.Cleanup(r.stop)
	return r
}

// begin begins an epoch of partition 1.
func (r *rig) begin(epoch uint32, b Base) {
	r.epoch, r.seq = epoch, b.Seq
	r.Begin(1, epoch, b)
	r.Flush()
}

func (r *rig) decide(op ops.Op) {
	r.seq++
	r.Decided(Place{1, r.epoch, r.seq}, []ops.Op{op})
}

func token(n int) sharelock.Token { return sharelock.MakeToken(1, uint32(n)) }

// hold records a grant and its end.
func (r *rig) hold(key string, n int) {
	r.decide(ops.Op{Kind: ops.Grant, Key: key, ClientID: fmt.Sprint("client-", n), RequestID: fmt.Sprint("r-", n), Token: token(n), TTL: time.Minute})
	r.decide(ops.Op{Kind: ops.Release, Key: key, Token: token(n), Why: ops.Released})
	r.Flush()
}

func (r *rig) search(q Query) Part {
	r.t.Helper()
	if q.Limit == 0 {
		q.Limit = 100
	}
	if q.To == 0 {
		q.To = time.Now().Add(time.Hour).UnixMicro()
	}
	q.Partition = 1
	part, err := r.Search(r.t.Context(), q)
	must(r.t, err)
	return part
}

// recent is a time before all tests.
func recent() int64 { return time.Now().Add(-time.Hour).UnixMicro() }

// complete reports whether parts cover partition 1 from its beginning to now.
func complete(parts ...Part) bool {
	l := newLine(parts)
	if len(l.epochs) == 0 {
		return false
	}
	return l.covered(recent(), l.epochs[0]) <= recent()
}

func TestSearch(t *testing.T) {
	r := run(t, Config{Dir: t.TempDir()})
	r.begin(1, Base{Owner: true})
	r.decide(ops.Op{Kind: ops.Grant, Key: "k", ClientID: "a", RequestID: "1", Token: token(1), TTL: time.Minute})
	r.decide(ops.Op{Kind: ops.Enqueue, Key: "k", ClientID: "b", RequestID: "2", Principal: "p", TTL: time.Minute})
	r.decide(ops.Op{Kind: ops.Enqueue, Key: "k", ClientID: "c", RequestID: "2", TTL: time.Minute})
	r.decide(ops.Op{Kind: ops.Renew, Key: "k", Token: token(1), TTL: time.Minute})
	r.decide(ops.Op{Kind: ops.Release, Key: "k", Token: token(1), Why: ops.Forced, By: "admin"})
	r.decide(ops.Op{Kind: ops.Grant, Waited: true, Key: "k", RequestID: "2", Principal: "p", Token: token(2), TTL: time.Minute})
	r.decide(ops.Op{Kind: ops.Dequeue, Key: "k", RequestID: "2", Why: ops.WaitOver})
	r.Flush()
	for i := range 100 {
		r.hold(fmt.Sprint("other-", i), 100+i)
	}
	part := r.search(Query{Key: "k", From: recent()})
	if len(part.Pasts) != 2 || !complete(part) {
		t.Fatalf("%+v", part)
	}
	newest, oldest := part.Pasts[0], part.Pasts[1]
	if newest.ClientID != "b" || newest.Principal != "p" || !newest.Queued || newest.QueuedAt == 0 || len(newest.Ends) != 0 {
		t.Errorf("%+v", newest)
	}
	if oldest.ClientID != "a" || len(oldest.Ends) != 1 || oldest.Ends[0].By != "admin" || oldest.Ends[0].Why != ops.Forced || !oldest.Grant.Owner {
		t.Errorf("%+v", oldest)
	}
}

// A search of a key with many holds reads only as many blocks as needed.
func TestSearchReadsLittle(t *testing.T) {
	r := run(t, Config{Dir: t.TempDir()})
	r.begin(1, Base{})
	for i := range 5000 {
		r.hold("k", i+1)
	}
	part := r.search(Query{Key: "k", From: recent(), Limit: 10})
	if len(part.Pasts) < 10 || part.Pasts[0].Token != token(5000) || part.Pasts[9].Token != token(4991) {
		t.Errorf("%d holds, the newest %v", len(part.Pasts), part.Pasts[0].Token)
	}
	if all := len(r.store.All()); all < 10 {
		t.Errorf("only %d blocks: this test shows nothing", all)
	}
}

// A journal is complete after an orderly restart. After a crash it knows where its records end.
func TestReopen(t *testing.T) {
	for _, crash := range []bool{false, true} {
		dir := t.TempDir()
		r := run(t, Config{Dir: dir})
		r.begin(1, Base{})
		r.hold("k", 1)
		seq := r.seq
		if !crash {
			r.End(Place{1, 1, seq + 5}) // with renewals
			r.Flush()
		}
		r.stop()
		r = run(t, Config{Dir: dir})
		part := r.search(Query{Key: "k", From: recent()})
		want := seq
		if !crash {
			want += 5
		}
		if len(part.Pasts) != 1 || len(part.Spans) != 1 || part.Spans[0].Open || part.Spans[0].High != want {
			t.Fatalf("%+v", part)
		}
		r.begin(2, Base{Seq: want, From: 1})
		r.hold("k", 2)
		if part = r.search(Query{Key: "k", From: recent()}); len(part.Pasts) != 2 || !complete(part) {
			t.Errorf("%+v", part)
		}
		r.begin(3, Base{Seq: r.seq + 1, From: 2}) // something was decided elsewhere
		if part = r.search(Query{Key: "k", From: recent()}); complete(part) {
			t.Errorf("complete: %+v", part)
		}
	}
}

// Records that could not be queued or written make a gap, which ends at the shard's Resume.
func TestGaps(t *testing.T) {
	var broken atomic.Bool
	fault := func() error {
		if broken.Load() {
			return errors.New("no space left")
		}
		return nil
	}
	for _, dir := range []string{"", t.TempDir()} {
		r := run(t, Config{Dir: dir, Fault: fault})
		r.begin(1, Base{})
		r.hold("k", 1)
		r.search(Query{Key: "k"})
		broken.Store(true)
		r.hold("k", 2)
		if part := r.search(Query{Key: "k"}); complete(part) || len(part.Pasts) != 1 {
			t.Errorf("complete while nothing is written: %+v", part)
		}
		broken.Store(false)
		r.hold("k", 3)
		if part := r.search(Query{Key: "k"}); complete(part) || len(part.Pasts) != 2 {
			t.Errorf("complete before Resume: %+v", part)
		}
		if !r.Torn() {
			t.Fatal("the pen does not know of the gap")
		}
		r.Resume(Place{1, 1, r.seq}, Base{})
		r.hold("k", 4)
		part := r.search(Query{Key: "k"})
		if complete(part) || len(part.Pasts) != 3 {
			t.Errorf("complete in spite of the gap: %+v", part)
		}
		if l := newLine([]Part{part}); l.covered(time.Now().UnixMicro(), 1) > time.Now().UnixMicro() {
			t.Errorf("not complete since the gap: %+v", part.Spans)
		}
		if dir == "" {
			continue
		}
		r.stop()
		r = run(t, Config{Dir: dir, Fault: fault})
		part = r.search(Query{Key: "k"})
		part.Spans[len(part.Spans)-1].Open = true
		if complete(part) || len(part.Spans) != 2 || part.Spans[1].Low != 6 {
			t.Errorf("the gap is forgotten: %+v", part.Spans)
		}
	}
}

// A full queue drops further records, and the pen knows that.
func TestQueueIsBounded(t *testing.T) {
	j, err := Open(Config{MaxBytes: 64 << 20, Partitions: 4, Log: slog.New(slog.DiscardHandler)})
	must(t, err)
	p := j.Pen() // Run is not called
	op := ops.Op{Kind: ops.Grant, Key: "k", ClientID: "a", RequestID: "r", Token: 1, TTL: time.Minute}
	seq := uint64(0)
	for !p.Torn() {
		for range 1000 {
			seq++
			p.Decided(Place{1, 1, seq}, []ops.Op{op})
		}
		if p.Flush(); p.length() > maxWaiting {
			t.Fatalf("%d bytes wait", p.length())
		}
	}
	if j.Lost() == 0 {
		t.Error("nothing is counted")
	}
}

// Removing the oldest segments makes the complete time shorter, and has no other effect.
func TestRetention(t *testing.T) {
	dir := t.TempDir()
	r := run(t, Config{Dir: dir, MaxBytes: MinBytes, Keep: time.Hour})
	r.begin(1, Base{})
	for i := range 30000 {
		r.hold(fmt.Sprint("key-", i%50), i+1)
		if i%500 == 0 {
			r.search(Query{Key: "k"})
		}
	}
	part := r.search(Query{Key: "key-7", From: recent(), Limit: 1000})
	if len(part.Spans) != 1 || !part.Spans[0].Open || part.Spans[0].Low == 0 || complete(part) {
		t.Fatalf("%+v", part.Spans)
	}
	low := part.Spans[0].Low
	for _, p := range part.Pasts {
		if p.Grant.Seq != 0 && p.Grant.Seq <= low && len(p.Ends) > 0 && p.Ends[0].Seq <= low {
			continue // more than the spans promise
		}
	}
	// All holds of the key after low are found.
	want := 0
	for i := range 30000 {
		if i%50 == 7 && uint64(2*i+1) > low {
			want++
		}
	}
	if len(part.Pasts) < want {
		t.Errorf("%d holds after %d, want %d", len(part.Pasts), low, want)
	}
	r.stop()
	r = run(t, Config{Dir: dir, MaxBytes: MinBytes, Keep: time.Hour})
	again := r.search(Query{Key: "key-7", From: recent(), Limit: 1000})
	if len(again.Spans) != 1 || again.Spans[0].Low < low || again.Spans[0].High != r.seq && again.Spans[0].High != 60000 {
		t.Errorf("after a restart %+v, before %+v", again.Spans, part.Spans)
	}
}

// Any bytes are refused or decoded, and encoding a decoded record gives the same bytes.
func FuzzRecord(f *testing.F) {
	for _, r := range []record{
		{kind: applied, owner: true, partition: 7, epoch: 3, seq: 9, at: 1 << 50, op: (&ops.Op{Kind: ops.Read, Key: "k"}).Append(nil)},
		{kind: follows, lost: true, partition: 7, epoch: 3, seq: 9, at: 5, base: 9},
		{kind: gap},
	} {
		f.Add(r.append(nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s := newSearch(Query{Key: "k", To: 1 << 60, Limit: 10})
		_ = s.block(b) // must not crash
		s.result()
		var r record
		rest, err := r.next(b)
		if err != nil {
			return
		}
		keyOf(r.op)
		var again record
		if _, err := again.next(r.append(nil)); err != nil {
			t.Fatalf("%+v: %v", r, err)
		}
		again.op, r.op = nil, nil
		if fmt.Sprint(again) != fmt.Sprint(r) {
			t.Fatalf("%+v became %+v", r, again)
		}
		_ = rest
	})
}
