package journal

import (
	"fmt"
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/owner/ops"
)

// begunAt is when the holds of these tests begin.
var begunAt = time.Now().Add(-10 * time.Minute).UnixMicro()

// tenure is how long each hold of a busy key lasts, in microseconds, and how long after its end the next
// one begins.
const tenure = 5000

// beginOf returns when hold i begins; the first is 0.
func beginOf(i int) int64 { return begunAt + int64(i)*2*tenure }

// busy records holds of a key, as the owner or as a backup, by a clock that is ahead. If they waited, the next holder is in the queue
// before the last one has released.
func (r *rig) busy(n int, owner bool, ahead time.Duration, waited bool) {
	decide := func(op ops.Op) {
		r.seq++
		r.Encoded(Place{1, r.epoch, r.seq}, owner, op.Append(nil))
	}
	for i := range n {
		r.at = beginOf(i) + ahead.Microseconds()
		grant := ops.Op{Kind: ops.Grant, Key: "k", Waited: waited, RequestID: fmt.Sprint("r-", i), Token: token(i + 1), TTL: time.Minute}
		if !waited {
			grant.ClientID = fmt.Sprint("client-", i)
		}
		if waited && i == 0 {
			decide(ops.Op{Kind: ops.Enqueue, Key: "k", ClientID: "client-0", RequestID: "r-0", TTL: time.Minute})
		}
		decide(grant)
		if waited {
			decide(ops.Op{Kind: ops.Enqueue, Key: "k", ClientID: fmt.Sprint("client-", i+1), RequestID: fmt.Sprint("r-", i+1), TTL: time.Minute})
		}
		r.at += tenure
		decide(ops.Op{Kind: ops.Release, Key: "k", Token: token(i + 1), Why: ops.Released})
		if r.Flush(); i%500 == 499 {
			r.search(Query{Key: "nobody's"}) // until all is written
		}
	}
}

// Whoever held a key that is granted a hundred times a second is found at any time: holds that the search
// finds only because clocks may differ do not take the room of those that are wanted.
func TestSearchOfABusyKey(t *testing.T) {
	const n = 5000
	for _, waited := range []bool{false, true} {
		owner, backup := run(t, Config{}), run(t, Config{})
		owner.at, backup.at = begunAt, begunAt
		owner.begin(1, Base{Owner: true})
		backup.begin(1, Base{})
		owner.busy(n, true, 0, waited)
		backup.busy(n, false, 55*time.Millisecond, waited)
		for _, i := range []int{0, 1, n / 2, n - 2, n - 1} {
			at := beginOf(i) + tenure/2
			q := Query{Key: "k", Partition: 1, From: at, To: at, Limit: 100}
			check := func(what string, q Query, parts ...Part) {
				t.Helper()
				h := Merge(q, parts, nil, 1)
				if !h.Complete || len(h.Entries) != 1 || h.Entries[0].Token != token(i+1) || h.Entries[0].ClientID != fmt.Sprint("client-", i) {
					t.Errorf("waited %v, hold %d, %s: got %+v", waited, i, what, h)
				}
			}
			check("the owner", q, owner.search(q))
			check("both", q, owner.search(q), backup.search(q))
			check("both, in the other order", q, backup.search(q), owner.search(q))
			q.From, q.To = q.From+55_000, q.To+55_000
			check("the backup, by its clock", q, backup.search(q))
		}
	}
}

// The newest holds are complete although older ones were not looked for. What was not looked for is not
// called complete.
func TestSearchKnowsHowFarItWent(t *testing.T) {
	const n, limit = 3000, 10
	for _, lost := range []bool{false, true} {
		r := run(t, Config{})
		r.at = begunAt
		r.begin(1, Base{Owner: true, Lost: lost})
		r.busy(n, true, 0, false)
		q := Query{Key: "k", Partition: 1, From: begunAt - 1e6, To: beginOf(n), Limit: limit}
		part := r.search(q)
		h := Merge(q, []Part{part}, nil, 1)
		if !h.Complete || len(h.Entries) != limit || h.Entries[0].Token != token(n) || h.Entries[limit-1].Token != token(n-limit+1) {
			t.Errorf("lost %v: got complete %v, %d holds of %v, reached %v", lost, h.Complete, len(h.Entries), len(part.Pasts), part.Spans)
		}
		if len(part.Pasts) == n {
			t.Errorf("all %d holds were found: this test shows nothing", n)
		}
		// Asked for more than it has looked for, it would not be complete.
		q.Limit = 100
		if h := Merge(q, []Part{part}, nil, 1); h.Complete {
			t.Errorf("lost %v: %d holds of %d are called complete", lost, len(h.Entries), q.Limit)
		}
	}
}

// If a key was granted more often than a search tells of, its answer is not called complete.
func TestSearchOfATooBusyKey(t *testing.T) {
	r := run(t, Config{})
	r.at = begunAt
	r.begin(1, Base{Owner: true})
	for i := range 3 * mostNear {
		r.at = begunAt + int64(i)*100
		r.decide(ops.Op{Kind: ops.Grant, Key: "k", ClientID: "c", RequestID: fmt.Sprint("r-", i), Token: token(i + 1), TTL: time.Minute})
		r.at += 50
		r.decide(ops.Op{Kind: ops.Release, Key: "k", Token: token(i + 1), Why: ops.Released})
		if r.Flush(); i%500 == 499 {
			r.search(Query{Key: "nobody's"}) // until all is written
		}
	}
	q := Query{Key: "k", Partition: 1, From: begunAt + 25, To: begunAt + 25, Limit: 100}
	part := r.search(q)
	if h := Merge(q, []Part{part}, nil, 1); h.Complete || len(part.Pasts) > MaxFound(q.Limit) {
		t.Errorf("got complete %v, %d holds found", h.Complete, len(part.Pasts))
	}
}

// A member that followed the key only for a time does not make others' holds look longer than they were.
func TestSearchOfOneHold(t *testing.T) {
	const second = 1_000_000
	grant := ops.Op{Kind: ops.Grant, Key: "k", ClientID: "c", RequestID: "r", Token: token(1), TTL: time.Minute}
	release := ops.Op{Kind: ops.Release, Key: "k", Token: token(1), Why: ops.Released}
	next := ops.Op{Kind: ops.Grant, Key: "k", ClientID: "d", RequestID: "r2", Token: token(2), TTL: time.Minute}
	nextReleased := ops.Op{Kind: ops.Release, Key: "k", Token: token(2), Why: ops.Released}
	// The hold lasts for ten seconds; so long before or after it the key is not held.
	begins, ends := begunAt, begunAt+10*second
	live := []sharelock.Hold{{Key: "k", ClientID: "c", Token: token(1)}}
	for _, tt := range []struct {
		name string
		at   int64
		// released is set if the hold was released before the members were asked.
		released bool
		held     bool
	}{
		{"long before it", begins - 30*second, true, false},
		{"before it", begins - second, true, false},
		{"in it", begins + 5*second, true, true},
		{"soon after it", ends + second, true, false},
		{"long after it", ends + 30*second, true, false},
		{"long before one that is live", begins - 30*second, false, false},
		{"before one that is live", begins - second, false, false},
		{"in one that is live", begins + 5*second, false, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			owner, granted, ended := run(t, Config{}), run(t, Config{}), run(t, Config{})
			for _, r := range []*rig{owner, granted, ended} {
				r.at = begunAt - 60*second
				r.begin(1, Base{Owner: r == owner})
				r.at = begins
				if r.seq++; r != ended {
					r.Encoded(Place{1, 1, 1}, r == owner, grant.Append(nil))
				}
				if r.at = ends; r != granted && tt.released {
					r.Encoded(Place{1, 1, 2}, r == owner, release.Append(nil))
				}
				// The next hold, for five seconds.
				if r.at = ends + 20*second; r != ended && tt.released {
					r.Encoded(Place{1, 1, 3}, r == owner, next.Append(nil))
				}
				if r.at = ends + 25*second; r != granted && tt.released {
					r.Encoded(Place{1, 1, 4}, r == owner, nextReleased.Append(nil))
				}
				// The block with the hold goes on, so that all searches read it.
				r.at = ends + 50*second
				other := ops.Op{Kind: ops.Release, Key: "other", Token: token(9), Why: ops.Released}
				r.Encoded(Place{1, 1, 5}, r == owner, other.Append(nil))
				r.Flush()
			}
			q := Query{Key: "k", Partition: 1, From: tt.at, To: tt.at, Limit: 100, Asked: ends + 60*second}
			var now []sharelock.Hold
			if !tt.released {
				q.Live, now = []sharelock.Token{token(1)}, live
			}
			for _, others := range [][]*rig{nil, {granted}, {ended}, {granted, ended}} {
				parts := []Part{owner.search(q)}
				for _, r := range others {
					p := r.search(q)
					p.Spans = nil // it did not follow all the time
					parts = append(parts, p)
				}
				h := Merge(q, parts, now, 1)
				if (len(h.Entries) == 1) != tt.held || !h.Complete {
					t.Errorf("beside %d others: got %+v, want held %v", len(others), h, tt.held)
				}
			}
		})
	}
}

// A backup may apply operations late, after a pause of its process. By its clock an earlier hold then begins or ends
// after the time that was asked for, but nothing follows from that.
func TestSearchBesideALateBackup(t *testing.T) {
	for _, alsoGrant := range []bool{true, false} {
		t.Run(fmt.Sprint(alsoGrant), func(t *testing.T) { testSearchBesideALateBackup(t, alsoGrant) })
	}
}

func testSearchBesideALateBackup(t *testing.T, alsoGrant bool) {
	const second = 1_000_000
	owner, backup := run(t, Config{}), run(t, Config{})
	for _, r := range []*rig{owner, backup} {
		r.at = begunAt
		r.begin(1, Base{Owner: r == owner})
		for i, begins := range []int64{begunAt, begunAt + 30*second} {
			grant := ops.Op{Kind: ops.Grant, Key: "k", ClientID: "c", RequestID: fmt.Sprint(i), Token: token(i + 1), TTL: time.Minute}
			release := ops.Op{Kind: ops.Release, Key: "k", Token: token(i + 1), Why: ops.Released}
			late := int64(0)
			if r == backup && i == 0 {
				late = 33 * second
			}
			if r.at = begins; alsoGrant {
				r.at += late
			}
			r.Encoded(Place{1, 1, uint64(2*i + 1)}, r == owner, grant.Append(nil))
			r.at = begins + late + 5*second
			r.Encoded(Place{1, 1, uint64(2*i + 2)}, r == owner, release.Append(nil))
		}
		r.Flush()
	}
	at := begunAt + 32*second
	q := Query{Key: "k", Partition: 1, From: at, To: at, Limit: 100, Asked: begunAt + 90*second}
	h := Merge(q, []Part{owner.search(q), backup.search(q)}, nil, 1)
	if !h.Complete || len(h.Entries) != 1 || h.Entries[0].Token != token(2) {
		t.Errorf("got %+v, want the second hold alone", h)
	}
}

// A backup whose clock is far behind does not contradict the owner, whose clock counts.
func TestSearchBesideABackupThatIsBehind(t *testing.T) {
	const second = 1_000_000
	owner, backup := run(t, Config{}), run(t, Config{})
	for _, r := range []*rig{owner, backup} {
		behind := int64(0)
		if r == backup {
			behind = 30 * second
		}
		r.at = begunAt - behind
		r.begin(1, Base{Owner: r == owner})
		grant := ops.Op{Kind: ops.Grant, Key: "k", ClientID: "c", RequestID: "r", Token: token(1), TTL: time.Minute}
		release := ops.Op{Kind: ops.Release, Key: "k", Token: token(1), Why: ops.Released}
		r.at = begunAt - behind
		r.Encoded(Place{1, 1, 1}, r == owner, grant.Append(nil))
		r.at = begunAt + 5*second - behind
		r.Encoded(Place{1, 1, 2}, r == owner, release.Append(nil))
		r.Flush()
	}
	at := begunAt + 2*second
	q := Query{Key: "k", Partition: 1, From: at, To: at, Limit: 100, Asked: begunAt + 90*second}
	h := Merge(q, []Part{owner.search(q), backup.search(q)}, nil, 1)
	if !h.Complete || len(h.Entries) != 1 || h.Entries[0].Token != token(1) {
		t.Errorf("got %+v, want the hold", h)
	}
}

// A part that was cut keeps what it says about the beginning of epochs.
func TestSearched(t *testing.T) {
	s := newSearch(Query{Limit: 1})
	s.found, s.reached = s.most(), Mark{Epoch: 5, Seq: 30, At: 300}
	got := s.searched([]Span{
		{Epoch: 3, Base: 0, Low: 0, High: 10, LowAt: 10},
		{Epoch: 5, Base: 10, From: 3, Lost: true, Low: 10, High: 20, LowAt: 100},
		{Epoch: 5, Base: 10, From: 3, Lost: true, Low: 20, High: 40, LowAt: 200},
		{Epoch: 7, Base: 40, From: 5, Low: 40, High: 50, Open: true, LowAt: 400},
	})
	want := []Span{
		{Epoch: 3, Base: 0, Low: 10, High: 10, LowAt: 10},
		{Epoch: 5, Base: 10, From: 3, Lost: true, Low: 20, High: 20, LowAt: 100},
		{Epoch: 5, Base: 10, From: 3, Lost: true, Low: 20, High: 20, LowAt: 200},
		{Epoch: 5, Base: 10, From: 3, Lost: true, Low: 29, High: 40, LowAt: 300},
		{Epoch: 7, Base: 40, From: 5, Low: 40, High: 50, Open: true, LowAt: 400},
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	s.found--
	if got := s.searched(want); len(got) != len(want) {
		t.Errorf("a search that went back to the beginning was cut: %+v", got)
	}
}
