package link

import (
	"flag"
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/golden"
	"github.com/sgkandale/sharelock/internal/release"
	"github.com/sgkandale/sharelock/internal/tracecontext"
	"github.com/sgkandale/sharelock/owner"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// What members write to each other by hand: the beginning of a link's stream, and its frames.
func TestLinkFormatsAreStable(t *testing.T) {
	var f golden.File
	hello, err := Hello{
		Releases: release.Range{Oldest: 1, Newest: 258}, Cluster: []byte("one"), To: "m.1-0000000000000007", From: "n.2-0000000000000008",
	}.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	f.Add("link hello", hello)
	answer, err := appendHelloAnswer(nil, release.Range{Oldest: 1, Newest: 258}, release.Range{Oldest: 1, Newest: 1})
	if err != nil {
		t.Fatal(err)
	}
	f.Add("link hello answered", answer)
	answer, _ = appendHelloAnswer(nil, release.Range{Oldest: 2, Newest: 258}, release.Range{Oldest: 1, Newest: 1})
	f.Add("link hello refused", answer)
	const token = sharelock.Token(256460173377011713)
	one := map[string]string{"why": "demo"}
	f.Add("calls", appendForward(appendForward(nil, &forward{id: 1, epoch: 7, req: &owner.Request{
		Kind: owner.Acquire, Key: "orders/42", ClientID: "w1", RequestID: "r-7", TTL: 10 * time.Second, Wait: 5 * time.Second,
		Mode: sharelock.Shared, Slots: 2, Metadata: one, Send: 3, OwnID: true, Drop: true,
	}}), &forward{id: 2, epoch: 7, req: &owner.Request{
		Kind: owner.Force, Key: "orders/42", Token: token, Reason: "stuck", Send: 1, SentOnce: true,
	}}))
	f.Add("renewals", appendForward(nil, &forward{id: 3, epoch: 7, req: &owner.Request{
		Kind: owner.RenewMany, Key: "k", TTL: time.Minute, Send: 1,
		Renewals: []*owner.Renewal{{Key: "k", Token: token, TTL: time.Second}, {Key: "l", Token: token + 1, TTL: time.Minute}},
	}}))
	// Release 2.
	f.Add("call of a principal", appendForward(nil, &forward{id: 1, epoch: 7, principals: true, req: &owner.Request{
		Kind: owner.Release, Key: "orders/42", Token: token, Principal: "apps/ci", AnyHold: true,
	}}))
	f.Add("renewals of principals", appendForward(nil, &forward{id: 3, epoch: 7, principals: true, req: &owner.Request{
		Kind: owner.RenewMany, Key: "k", TTL: time.Minute, Send: 1,
		Renewals: []*owner.Renewal{{Key: "k", Token: token, TTL: time.Second, Principal: "ci"}, {Key: "l", Token: token + 1, TTL: time.Minute}},
	}}))
	f.Add("denied", appendReply(nil, 3, 7, &owner.Answer{Outcome: owner.Done, Send: 1, Unrenewed: &owner.Unrenewed{Denied: []uint32{1, 300}}}))
	f.Add("granted to a principal", appendReply(nil, 1, 7, &owner.Answer{Outcome: owner.Done, Send: 3, Holds: []sharelock.Hold{{Key: "k", Token: token, Principal: "ci"}}}))
	parent := tracecontext.Parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
	f.Add("traced call", appendForward(nil, &forward{id: 1, epoch: 7, traces: true, req: &owner.Request{
		Kind: owner.Release, Key: "orders/42", Token: token, Trace: parent,
	}}))
	f.Add("traced entries", appendEntries(nil, 7, []owner.Entries{{Partition: 1, First: 2, Ops: []byte("ops"), Traces: []tracecontext.Parent{*parent}}}))
	f.Add("entries", appendEntries(nil, 7, []owner.Entries{{Partition: 1, First: 2, Ops: []byte("ops")}, {Partition: 300, First: 400, Ops: []byte("more")}}))
	f.Add("ping, or pong", appendPing(nil))
	hold := sharelock.Hold{
		Key: "orders/42", Token: token, ClientID: "w1", RequestID: "r-7", Mode: sharelock.Shared, Slots: 2,
		TTL: 10 * time.Second, ExpiresIn: 9 * time.Second, Metadata: one,
	}
	f.Add("granted", appendReply(nil, 1, 7, &owner.Answer{Outcome: owner.Done, Send: 3, Holds: []sharelock.Hold{hold}}))
	f.Add("failed", appendReply(nil, 2, 7, &owner.Answer{Outcome: owner.Failed, Send: 1, Err: &sharelock.Error{
		Err: sharelock.ErrLockHeld, Message: "held", RetryAfter: time.Second, Field: "key", Holds: []sharelock.Hold{hold},
	}}))
	f.Add("lost", appendReply(nil, 3, 7, &owner.Answer{Outcome: owner.Done, Send: 1, Unrenewed: &owner.Unrenewed{Lost: []uint32{0, 2}}}))
	f.Add("current", appendReply(nil, 4, 7, &owner.Answer{Outcome: owner.Done, Send: 1, Current: true}))
	f.Add("acks", appendAcks(nil, 7, []owner.Ack{{Partition: 1, Seq: 2}, {Partition: 3, Seq: 4, Gap: true}}))
	for i, e := range errorNumbers {
		f.Add("error "+e.Error(), []byte{byte(i + 1)})
	}
	f.Compare(t, "testdata/link.golden", *update)
}
