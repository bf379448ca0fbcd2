package journal

import (
	"fmt"
	"testing"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/owner/ops"
)

// past returns what a member has recorded about a hold of client c; the client is known only with
// the grant.
func past(n int, grant Mark, ends ...Ending) Past {
	if grant == (Mark{}) {
		return Past{Token: sharelock.Token(n), Ends: ends}
	}
	return Past{Token: sharelock.Token(n), Grant: grant, ClientID: "c", Ends: ends}
}

// at returns a mark whose time follows from its sequence number.
func at(epoch uint32, seq uint64) Mark { return Mark{Epoch: epoch, Seq: seq, At: 100 * int64(seq)} }

func released(m Mark) Ending { return Ending{Mark: m, Why: ops.Released} }

// span returns a span that begins at the base of its epoch; high 0 means open.
func span(epoch uint32, base, high uint64) Span {
	s := Span{Epoch: epoch, Base: base, Low: base, High: high, Open: high == 0, LowAt: 100 * int64(base)}
	if base > 0 {
		s.From = epoch - 1
	}
	return s
}

func lost(s Span, at int64) Span {
	s.Lost, s.LowAt = true, at
	return s
}

func TestMerge(t *testing.T) {
	for _, tt := range []struct {
		name     string
		from, to int64 // all if 0
		parts    []Part
		live     []sharelock.Hold
		epoch    uint32 // 2 if 0
		want     string
	}{
		{
			name:  "one member",
			parts: []Part{{[]Past{past(1, at(2, 1), released(at(2, 2))), past(2, at(2, 3))}, []Span{span(2, 0, 0)}}},
			live:  []sharelock.Hold{{Token: 2, ClientID: "c"}},
			want:  "2 c 300-, 1 c 100-200 RELEASED, complete",
		},
		{
			name: "owner and backup",
			parts: []Part{
				{[]Past{past(1, Mark{2, 1, 110, false}, released(Mark{2, 2, 210, false}))}, []Span{span(2, 0, 0)}},
				{[]Past{past(1, Mark{2, 1, 100, true}, released(Mark{2, 2, 200, true}))}, []Span{span(2, 0, 0)}},
			},
			want: "1 c 100-200 RELEASED, complete",
		},
		{
			name: "decided by an owner that was lost, and nobody else knew",
			parts: []Part{
				{[]Past{past(1, at(1, 1), released(at(1, 5))), past(2, at(1, 6))}, []Span{span(1, 0, 6)}},
				{[]Past{past(1, at(1, 1), Ending{Mark: at(2, 9), Why: ops.Expired})}, []Span{span(1, 0, 4), span(2, 4, 0)}},
			},
			want: "1 c 100-900 EXPIRED, complete",
		},
		{
			name: "the member that knew the time before is away",
			parts: []Part{
				{[]Past{past(2, at(2, 6))}, []Span{span(2, 4, 0)}},
			},
			live: []sharelock.Hold{{Token: 2, ClientID: "c"}},
			want: "2 c 600-, incomplete",
		},
		{
			name: "but the time before is not asked for", from: 500, to: 700,
			parts: []Part{
				{[]Past{past(2, at(2, 6))}, []Span{span(2, 4, 0)}},
			},
			want: "2 c 600-, complete",
		},
		{
			name: "two members have all between them",
			parts: []Part{
				{[]Past{past(1, at(1, 1))}, []Span{span(1, 0, 4)}},
				{[]Past{past(1, Mark{}, released(at(2, 6)))}, []Span{{Epoch: 1, Low: 3, High: 5, LowAt: 300}, span(2, 5, 0)}},
			},
			want: "1 c 100-600 RELEASED, complete",
		},
		{
			name: "a gap between the members",
			parts: []Part{
				{[]Past{past(1, at(1, 1))}, []Span{span(1, 0, 4)}},
				{[]Past{past(1, Mark{}, released(at(2, 9)))}, []Span{span(2, 7, 0)}},
			},
			want: "1 c 100-900 RELEASED, incomplete",
		},
		{
			name: "the state was lost",
			parts: []Part{
				{[]Past{past(7, at(1, 3))}, []Span{span(1, 0, 3)}},
				{[]Past{past(9, at(2, 1))}, []Span{lost(span(2, 0, 0), 350)}},
			},
			live: []sharelock.Hold{{Token: 9, ClientID: "c"}},
			want: "9 c 100-, 7 c 300-350 LOST, incomplete",
		},
		{
			name: "nobody knows what happens now",
			parts: []Part{
				{[]Past{past(1, at(1, 1))}, []Span{span(1, 0, 0)}},
			},
			want: "1 c 100-, incomplete",
		},
		{
			name: "the owner was not asked", epoch: 99,
			parts: []Part{
				{[]Past{past(1, at(2, 1))}, []Span{span(2, 0, 0)}},
			},
			want: "1 c 100-, incomplete",
		},
		{
			name: "the grant is forgotten", from: 500, to: 700,
			parts: []Part{
				{[]Past{past(1, Mark{}, released(at(2, 9)))}, []Span{{Epoch: 2, Low: 4, LowAt: 400, Open: true}}},
			},
			want: "1  ?-900 RELEASED, incomplete",
		},
		{
			name: "the grant is forgotten, but the holder is known", from: 500, to: 700,
			parts: []Part{
				{nil, []Span{{Epoch: 2, Low: 4, LowAt: 400, Open: true}}},
			},
			live: []sharelock.Hold{{Token: 1, ClientID: "c"}},
			want: "1 c ?-, complete",
		},
		{
			name: "the end is forgotten", from: 500, to: 700,
			parts: []Part{
				{[]Past{past(1, at(2, 1))}, []Span{{Epoch: 2, Low: 4, LowAt: 400, Open: true}}},
			},
			want: "complete",
		},
		{
			name: "before and after", from: 500, to: 700,
			parts: []Part{
				{[]Past{past(1, at(2, 1), released(at(2, 4))), past(2, at(2, 4), released(at(2, 6))), past(3, at(2, 8))}, []Span{span(2, 0, 0)}},
			},
			want: "2 c 400-600 RELEASED, complete",
		},
		{
			name: "nobody that was asked knows the epoch before", from: 500, to: 700, epoch: 3,
			parts: []Part{
				{nil, []Span{{Epoch: 1, High: 90}, {Epoch: 3, Base: 60, From: 2, Low: 60, LowAt: 6000, Open: true}}},
			},
			want: "incomplete",
		},
		{
			name: "an epoch between whose log was dropped", epoch: 3,
			parts: []Part{
				{[]Past{past(1, at(1, 3), released(at(1, 9)))}, []Span{span(1, 0, 9)}},
				{[]Past{past(5, at(2, 5))}, []Span{span(2, 4, 8), {Epoch: 3, Base: 9, From: 1, Low: 9, LowAt: 900, Open: true}}},
			},
			want: "1 c 300-900 RELEASED, complete",
		},
		{
			name: "nothing was decided after the state was lost", from: 500, to: 700, epoch: 3,
			parts: []Part{
				{nil, []Span{{Epoch: 3, From: 2, Lost: true, LowAt: 900, Open: true}}},
			},
			want: "incomplete",
		},
		{
			name: "nothing was decided before", from: 500, to: 700, epoch: 3,
			parts: []Part{
				{nil, []Span{{Epoch: 3, From: 2, LowAt: 900, Open: true}}},
			},
			want: "complete",
		},
		{
			name: "nothing was decided in the epoch before", from: 500, to: 700, epoch: 3,
			parts: []Part{
				{nil, []Span{{Epoch: 2, Base: 4, From: 1, Low: 4, High: 4, LowAt: 400}, {Epoch: 3, Base: 4, From: 2, Low: 4, LowAt: 900, Open: true}}},
			},
			want: "complete",
		},
		{
			name:  "a search that was cut off knows of no epoch",
			parts: []Part{{[]Past{past(1, at(2, 1), released(at(2, 2)))}, nil}},
			want:  "1 c 100-200 RELEASED, incomplete",
		},
		{
			name: "a search that was cut off, of a newer epoch than others know", epoch: 3,
			parts: []Part{
				{[]Past{past(1, at(3, 5), released(at(3, 6)))}, nil},
				{nil, []Span{span(2, 0, 4)}},
			},
			want: "1 c 500-600 RELEASED, incomplete",
		},
		{
			name: "an owner decided late that did not know that the state was lost", from: 650, to: 650,
			parts: []Part{
				{[]Past{past(1, Mark{1, 9, 900, true})}, []Span{span(1, 0, 9)}},
				{[]Past{past(2, Mark{2, 1, 600, true}, released(Mark{2, 2, 700, true})), past(3, Mark{2, 3, 800, true})}, []Span{lost(span(2, 0, 0), 500)}},
			},
			want: "2 c 600-700 RELEASED, complete",
		},
		{
			name: "the same, and only a backup has recorded what came after", from: 650, to: 650,
			parts: []Part{
				{[]Past{past(1, Mark{1, 9, 900, true})}, []Span{span(1, 0, 9)}},
				{[]Past{past(2, Mark{2, 1, 600, false}, released(Mark{2, 2, 700, false}))}, []Span{lost(span(2, 0, 0), 500)}},
			},
			want: "2 c 600-700 RELEASED, complete",
		},
		{
			name: "the clock of the owner before was ahead", from: 650, to: 650,
			parts: []Part{
				{[]Past{past(1, Mark{1, 3, 900, true}, released(Mark{1, 4, 950, true}))}, []Span{span(1, 0, 4)}},
				{[]Past{past(2, Mark{2, 5, 600, true}, released(Mark{2, 6, 700, true}))}, []Span{span(2, 4, 0)}},
			},
			want: "2 c 600-700 RELEASED, complete",
		},
		{name: "nothing is known", want: "incomplete"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			q := Query{Key: "k", From: tt.from, To: tt.to, Limit: 10}
			if q.To == 0 {
				q.To = 1 << 40
			}
			epoch := tt.epoch
			if epoch == 0 {
				epoch = 2
			}
			if epoch == 99 {
				epoch = 0
			}
			if got := text(Merge(q, tt.parts, tt.live, epoch)); got != tt.want {
				t.Errorf("%s\nwant %s", got, tt.want)
			}
		})
	}
}

func text(h sharelock.History) (s string) {
	for _, e := range h.Entries {
		from, to := "?", ""
		if !e.Acquired.IsZero() {
			from = fmt.Sprint(e.Acquired.UnixMicro())
		}
		if !e.Ended.IsZero() {
			to = fmt.Sprint(e.Ended.UnixMicro(), " ", e.End)
		}
		s += fmt.Sprintf("%d %s %s-%s, ", e.Token, e.ClientID, from, to)
	}
	if h.Complete {
		return s + "complete"
	}
	return s + "incomplete"
}
