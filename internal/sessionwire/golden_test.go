package sessionwire

import (
	"flag"
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/golden"
	"github.com/sgkandale/sharelock/internal/tracecontext"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestSessionsAreStable(t *testing.T) {
	var f golden.File
	f.Add("hello", AppendHello(nil))
	f.Add("welcome", AppendWelcome(nil))
	f.Add("ping", AppendPing(nil))
	acquire := sharelock.AcquireRequest{
		Key: "orders/42", ClientID: "w1", RequestID: "r-7", TTL: 10 * time.Second, Wait: 5*time.Second + 1,
		Mode: sharelock.Shared, Metadata: map[string]string{"why": "demo"},
	}
	for _, c := range []struct {
		name string
		call Call
	}{
		{"acquire", Call{ID: 1, Kind: CallAcquire, AcquireRequest: acquire}},
		{"acquire of a semaphore, with defaults", Call{ID: 1 << 40, Kind: CallAcquire, AcquireRequest: sharelock.AcquireRequest{
			Key: "pool", ClientID: "w1", RequestID: "r-8", Slots: 5, Wait: sharelock.DefaultWait,
		}}},
		{"renew", Call{ID: 2, Kind: CallRenew, AcquireRequest: sharelock.AcquireRequest{Key: "orders/42", TTL: time.Minute}, Token: 256460173377011713}},
		{"release", Call{ID: 3, Kind: CallRelease, AcquireRequest: sharelock.AcquireRequest{Key: "orders/42"}, Token: 256460173377011713}},
		{"release sent once", Call{ID: 4, Kind: CallRelease, AcquireRequest: sharelock.AcquireRequest{Key: "k"}, Token: 1, SentOnce: true}},
		{"cancel", Call{ID: 5, Kind: CallCancel}},
		{"give up", Call{ID: 6, Kind: CallGiveUp, AcquireRequest: sharelock.AcquireRequest{Key: "k", ClientID: "w1", RequestID: "r-9"}}},
		{"acquire with a longest time", Call{ID: 7, Kind: CallAcquire, AcquireRequest: sharelock.AcquireRequest{
			Key: "k", ClientID: "w1", RequestID: "r-8", MaxHold: time.Hour, Wait: sharelock.DefaultWait,
		}, Tell: true}},
		{"renew with metadata", Call{ID: 8, Kind: CallRenew, AcquireRequest: sharelock.AcquireRequest{Key: "k", Metadata: map[string]string{"step": "3"}}, Token: 1}},
		{"renew without metadata", Call{ID: 9, Kind: CallRenew, AcquireRequest: sharelock.AcquireRequest{Key: "k", Metadata: map[string]string{}}, Token: 1}},
		{"traced release", Call{
			ID: 10, Kind: CallRelease, AcquireRequest: sharelock.AcquireRequest{Key: "k"}, Token: 1,
			Trace: tracecontext.Parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
		}},
	} {
		f.Add(c.name, AppendCall(nil, &c.call))
	}
	f.Add("granted", AppendReply(nil, &Reply{ID: 1, Hold: sharelock.Hold{
		Token: 256460173377011713, TTL: 10 * time.Second, ExpiresIn: 9998 * time.Millisecond, SafeFor: 10004 * time.Millisecond, Node: "a",
	}}))
	f.Add("failed", AppendReply(nil, &Reply{ID: 2, Status: []byte("status")}))
	for _, k := range sampleKeeps() {
		f.Add("keep", AppendKeep(nil, &k))
	}
	f.Add("renewed", AppendRenewed(nil, 7, []uint64{1, 2, 300}))
	f.Add("not kept any more", AppendEnd(nil, 3, []byte("status")))
	f.Add("queued", AppendQueued(nil, 1, 2))
	f.Add("granted with a longest time", AppendReply(nil, &Reply{ID: 1, Hold: sharelock.Hold{
		Token: 1, TTL: 10 * time.Second, ExpiresIn: 9 * time.Second, SafeFor: 10 * time.Second, Node: "a", MaxHold: time.Hour, EndsIn: time.Minute,
	}}))
	f.Add("ring", AppendRing(nil, []byte("ring")))
	f.Add("closing", AppendClosing(nil, []byte("status")))
	events := []sharelock.Event{
		{Type: sharelock.Acquired, Key: "orders/42", Token: 256460173377011713, ClientID: "w1", At: time.Unix(1, 0), Cursor: "59712345.1021"},
		{Type: sharelock.Synced, Key: "orders/42", At: time.Unix(2, 0)},
	}
	told, _ := AppendEvents(nil, 5, len(events), 1<<10, func(b []byte, i int) []byte { return AppendEvent(b, &events[i]) })
	f.Add("events", told)
	f.Add("watch ended", AppendWatchEnd(nil, 5, []byte("status")))
	f.Add("watches", AppendWatches(nil))
	f.Compare(t, "testdata/sessions.golden", *update)
}
