package mesh

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/ringproto"
	"github.com/sgkandale/sharelock/internal/rules"
	"github.com/sgkandale/sharelock/mesh/keyring"
	"github.com/sgkandale/sharelock/mesh/link"
	"github.com/sgkandale/sharelock/mesh/view"
	"github.com/sgkandale/sharelock/owner"
	"github.com/sgkandale/sharelock/owner/journal"
	"github.com/sgkandale/sharelock/owner/ops"
	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
	sharelockv1 "github.com/sgkandale/sharelock/proto/sharelock/v1"
	"github.com/sgkandale/sharelock/ring"
)

// The largest of everything that a message between members carries.

func longest(n int) string { return strings.Repeat("x", n) }

func largestMetadata() map[string]string {
	m := map[string]string{}
	for i := range sharelock.MaxMetadataPairs {
		k := fmt.Sprintf("%02d", i)
		m[k] = longest(sharelock.MaxMetadataBytes/sharelock.MaxMetadataPairs - len(k))
	}
	return m
}

func largestHold() sharelock.Hold {
	return sharelock.Hold{
		Key: longest(sharelock.MaxKeyBytes), Token: 1<<63 - 1, ClientID: longest(sharelock.MaxClientIDBytes),
		RequestID: longest(sharelock.MaxRequestIDBytes), Principal: longest(sharelock.MaxPrincipalBytes), Slots: sharelock.MaxSlots, TTL: 24 * time.Hour, ExpiresIn: 24 * time.Hour,
		Node: longest(64), Metadata: largestMetadata(),
	}
}

func largestWaiter() sharelock.Waiter {
	h := largestHold()
	return sharelock.Waiter{
		ClientID: h.ClientID, RequestID: h.RequestID, Principal: h.Principal, Slots: h.Slots, Waiting: h.TTL, Metadata: h.Metadata,
	}
}

// largestMember is the largest that a member may say of itself.
func largestMember(t *testing.T) ring.Member {
	t.Helper()
	m := ring.Member{
		Identity: ring.Identity{ID: longest(64), Counter: 1<<64 - 1, Nonce: 1<<64 - 1}, Name: longest(64),
		Peer: longest(64), Gossip: longest(64), HTTP: longest(64), GRPC: longest(64),
	}
	if err := view.CheckJoiner(m); err != nil {
		t.Fatal(err)
	}
	for what, change := range map[string]func(*ring.Member){
		"id": func(m *ring.Member) { m.ID += "x" }, "name": func(m *ring.Member) { m.Name += "x" },
		"peer": func(m *ring.Member) { m.Peer += "x" }, "gossip": func(m *ring.Member) { m.Gossip += "x" },
		"http": func(m *ring.Member) { m.HTTP += "x" }, "grpc": func(m *ring.Member) { m.GRPC += "x" },
	} {
		larger := m
		if change(&larger); view.CheckJoiner(larger) == nil {
			t.Errorf("a member with a larger %s may join", what)
		}
	}
	m.Leaving = true
	return m
}

func largestState(t *testing.T) view.State {
	m := largestMember(t)
	s := view.State{Cluster: &peerv1.Cluster{
		Id: []byte(longest(rules.MaxClusterID)), Name: longest(64), Partitions: ring.MaxPartitions,
		LeaseNs: int64(time.Minute), MaxTtlNs: int64(24 * time.Hour), Replicas: view.MaxVoters,
		Replaces: slices.Repeat([][]byte{[]byte(longest(rules.MaxClusterID))}, 100), // one for each recovery
	}}
	for range ring.MaxHistory {
		s.History.Views = append(s.History.Views, ring.View{
			Epoch: 1<<31 - 1, Replicas: view.MaxVoters, Placement: ring.Placement, Members: slices.Repeat([]ring.Member{m}, ring.MaxMembers),
		})
	}
	return s
}

// largestMessages has, for each call of the peer protocol, the largest request and answer.
func largestMessages(t *testing.T) map[string][2]proto.Message {
	t.Helper()
	m := largestMember(t)
	member, id, history := ringproto.EncodeMember(m), ringproto.EncodeIdentity(m.Identity), view.StateToProto(largestState(t))
	cluster, why := []byte(longest(rules.MaxClusterID)), longest(4<<10)
	ids := slices.Repeat([]*peerv1.Identity{id}, ring.MaxMembers)
	partitions := slices.Repeat([]uint32{1<<32 - 1}, ring.MaxPartitions)
	target := &peerv1.WatchTarget{Key: longest(sharelock.MaxKeyBytes), Prefix: longest(sharelock.MaxKeyBytes)}
	event := &peerv1.WatchEvent{
		Type: string(sharelock.LeftQueue), Key: longest(sharelock.MaxKeyBytes), ClientId: longest(sharelock.MaxClientIDBytes),
		Principal: longest(sharelock.MaxPrincipalBytes), Reason: longest(sharelock.MaxReasonBytes),
	}
	held := slices.Repeat([]*peerv1.Held{{Partition: 1<<32 - 1, Have: 1<<32 - 1, Seq: 1<<64 - 1}}, ring.MaxPartitions)
	return map[string][2]proto.Message{
		"Promise": {&peerv1.PromiseRequest{ClusterId: cluster, Founder: id}, &peerv1.PromiseResponse{Promised: true, Why: why}},
		"Probe": {
			&peerv1.ProbeRequest{Release: 1, OldestRelease: 1, Member: member},
			&peerv1.ProbeResponse{Epoch: 1 << 31, ClusterId: cluster, Release: 1, OldestRelease: 1, Undialled: why},
		},
		"Join": {
			&peerv1.JoinRequest{Member: member, Reached: ids, Callers: ids, OldestRelease: 1},
			&peerv1.JoinResponse{Outcome: peerv1.JoinResponse_OUTCOME_WAIT, Why: why, Leader: m.Peer, History: history},
		},
		"Decommission": {&peerv1.DecommissionRequest{Name: m.Name}, &peerv1.DecommissionResponse{Why: why, Leader: m.Peer}},
		"Renew": {
			&peerv1.RenewRequest{Member: id, Epoch: 1 << 31, Leaving: true, Done: true, Refresh: true, Complaints: ids, Told: true, Callers: ids},
			&peerv1.RenewResponse{
				Outcome: peerv1.RenewResponse_OUTCOME_REFUSED, Leader: m.Peer, Epoch: 1 << 31, History: history, Notice: why,
				Voters: slices.Repeat([]string{m.ID}, view.MaxVoters), LeaderId: m.ID,
			},
		},
		"Term":    {&peerv1.TermRequest{Voter: m.ID}, &peerv1.TermResponse{Term: 1<<64 - 1, Applied: 1<<64 - 1, Abstains: true}},
		"Install": {&peerv1.InstallRequest{History: history}, &peerv1.InstallResponse{Epoch: 1 << 31}},
		"Ask":     {&peerv1.AskRequest{Epoch: 1 << 31, Partitions: partitions}, &peerv1.AskResponse{Epoch: 1 << 31, Held: held}},
		"Active":  {&peerv1.ActiveRequest{Epoch: 1 << 31, Partitions: partitions}, &peerv1.ActiveResponse{Epoch: 1 << 31}},
		"Forced": {
			&peerv1.ForcedRequest{
				Holds: slices.Repeat([]*peerv1.ForcedHold{{
					Key: longest(sharelock.MaxKeyBytes), Token: 1<<63 - 1, ClientId: longest(sharelock.MaxClientIDBytes),
					Principal: longest(sharelock.MaxPrincipalBytes),
				}}, mostForced),
				Reason: longest(sharelock.MaxReasonBytes),
			},
			&peerv1.ForcedResponse{},
		},
		"Keyring": {
			&peerv1.KeyringRequest{Action: peerv1.KeyringRequest_ACTION_INSTALL, Key: make([]byte, keyring.KeySize), Fingerprint: make([]byte, 8), WithKeys: true},
			&peerv1.KeyringResponse{
				Keys:       slices.Repeat([]*peerv1.KeyringKey{{Fingerprint: make([]byte, 8), Key: make([]byte, keyring.KeySize)}}, keyring.MaxKeys),
				Encryption: "required", FromFile: true, Refused: why,
			},
		},
		// 500 targets and reads at once, and 128 KiB of news and one more: a key with as many holders and
		// waiters as a read lists.
		"Watch": {
			&peerv1.WatchRequest{
				Watch:   slices.Repeat([]*peerv1.WatchTarget{target}, 500),
				Unwatch: slices.Repeat([]*peerv1.WatchTarget{target}, 500),
				Reads: slices.Repeat([]*peerv1.WatchRead{{
					Id: 1<<64 - 1, Target: target, Partitions: slices.Repeat([]uint32{ring.MaxPartitions - 1}, 32),
				}}, 500),
			},
			&peerv1.WatchResponse{News: []*peerv1.WatchNews{{Events: make([]byte, 129<<10), Part: &peerv1.WatchPart{
				Error: why, Events: slices.Repeat([]*peerv1.WatchEvent{event}, 2100),
			}}}},
		},
		"Usage": {
			&peerv1.UsageRequest{Epoch: 1 << 31, Principal: longest(sharelock.MaxPrincipalBytes)},
			&peerv1.UsageResponse{Epoch: 1 << 31, Known: true, Holds: 1<<64 - 1, Waiters: 1<<64 - 1},
		},
		"Activity": {
			&peerv1.ActivityRequest{Contended: sharelock.MaxPageSize},
			&peerv1.ActivityResponse{Activity: sharelockv1.ActivityToProto(sharelock.Activity{
				Name: longest(64), Err: longest(4 << 10), Grants: 1<<64 - 1, Ends: 1<<64 - 1,
				Contended: slices.Repeat([]sharelock.Contention{{
					Key: longest(sharelock.MaxKeyBytes), Holds: sharelock.MaxSlots, Waiters: sharelock.MaxSlots, LongestWait: 24 * time.Hour,
				}}, sharelock.MaxPageSize),
			})},
		},
		"History": {
			&peerv1.HistoryRequest{
				Key: longest(sharelock.MaxKeyBytes), Partition: ring.MaxPartitions, From: 1<<63 - 1, To: 1<<63 - 1, Limit: sharelock.MaxHistory,
				Live: slices.Repeat([]uint64{1<<63 - 1}, sharelock.MaxListed),
			},
			largestHistory(),
		},
		"Greet":    {&peerv1.GreetRequest{}, &peerv1.GreetResponse{}},
		"TakeOver": {&peerv1.TakeOverRequest{Silent: id, Term: 1<<64 - 1}, &peerv1.TakeOverResponse{}},
		"Relay":    {&peerv1.RelayRequest{Parcel: largestParcel(id)}, &peerv1.RelayResponse{Reply: largestReply(id)}},
		"Collect": {
			&peerv1.CollectRequest{Member: id, Replies: slices.Repeat([]*peerv1.Reply{largestReply(id)}, view.ParcelsAtOnce)},
			&peerv1.CollectResponse{Parcels: slices.Repeat([]*peerv1.Parcel{largestParcel(id)}, view.ParcelsAtOnce)},
		},
		"List": {
			&peerv1.ListRequest{Epoch: 1 << 31, Prefix: longest(sharelock.MaxKeyBytes), ClientId: longest(sharelock.MaxClientIDBytes), After: longest(sharelock.MaxKeyBytes), Limit: 1000},
			largestList(),
		},
	}
}

func largestParcel(id *peerv1.Identity) *peerv1.Parcel {
	return &peerv1.Parcel{
		Id: 1<<64 - 1, From: id, To: id, Epoch: 1 << 31, Method: peerv1.PeerService_Active_FullMethodName, Request: make([]byte, view.MaxParcel),
	}
}

func largestReply(id *peerv1.Identity) *peerv1.Reply {
	return &peerv1.Reply{To: id, Id: 1<<64 - 1, Code: 16, Message: longest(4 << 10), Response: make([]byte, view.MaxParcel)}
}

// largestList is an owner's largest part of a list.
// largestHistory is the most that a member answers of the history of a key.
func largestHistory() *peerv1.HistoryResponse {
	mark := &peerv1.HistoryMark{Epoch: 1 << 31, Seq: 1<<64 - 1, At: 1<<63 - 1, Owner: true}
	hold := &peerv1.HistoryHold{
		Token: 1<<63 - 1, Grant: mark, ClientId: longest(sharelock.MaxClientIDBytes), Principal: longest(sharelock.MaxPrincipalBytes),
		Mode: 1, Queued: true, QueuedAt: 1<<63 - 1,
		Ends: slices.Repeat([]*peerv1.HistoryEnd{{Mark: mark, Why: 255, By: longest(ops.MaxBy)}}, journal.MaxEnds),
	}
	return &peerv1.HistoryResponse{
		Holds: slices.Repeat([]*peerv1.HistoryHold{hold}, journal.MaxFound(sharelock.MaxHistory)),
		Spans: slices.Repeat([]*peerv1.HistorySpan{{Epoch: 1 << 31, Base: 1<<64 - 1, Lost: true, Low: 1<<64 - 1, High: 1<<64 - 1, Open: true, LowAt: 1<<63 - 1, From: 1<<32 - 1}}, journal.MaxSpans),
	}
}

func largestList() *peerv1.ListResponse {
	lock := sharelock.KeyState{Key: longest(sharelock.MaxKeyBytes), Owner: longest(64), HoldCount: sharelock.MaxSlots}
	// 64 KiB, as TestReadIsBounded of package owner has it.
	lock.Holds = slices.Repeat([]sharelock.Hold{largestHold()}, 13)
	lock.Waiters = slices.Repeat([]sharelock.Waiter{largestWaiter()}, 12)
	l := owner.Listing{Locks: slices.Repeat([]sharelock.KeyState{lock}, sharelock.MaxPageSize+1)}
	l.Cut(sharelock.MaxPageSize)
	resp := &peerv1.ListResponse{Epoch: 1 << 31, More: true, Quarantined: ring.MaxPartitions}
	for i := range l.Locks {
		resp.Locks = append(resp.Locks, link.LockToProto(&l.Locks[i]))
	}
	return resp
}

// No message of the peer protocol is larger than what members accept. The pieces of Fetch
// and Sync have a bound of their own, see package owner.
func TestLargestMessages(t *testing.T) {
	all := largestMessages(t)
	methods := peerv1.File_sharelock_peer_v1_peer_proto.Services().ByName("PeerService").Methods()
	for i := range methods.Len() {
		name := string(methods.Get(i).Name())
		if name == "Fetch" || name == "Sync" {
			continue
		}
		messages, ok := all[name]
		if !ok {
			t.Errorf("nobody knows the largest messages of %s", name)
			continue
		}
		for j, want := range []protoreflect.MessageDescriptor{methods.Get(i).Input(), methods.Get(i).Output()} {
			m := messages[j]
			if got := m.ProtoReflect().Descriptor(); got != want {
				t.Errorf("%s: %s, want %s", name, got.FullName(), want.FullName())
			}
			fill(t, name, m.ProtoReflect())
			size := proto.Size(m)
			t.Logf("%s: %d bytes", m.ProtoReflect().Descriptor().Name(), size)
			if size > rules.MaxPeerMessage {
				t.Errorf("%s has %d bytes, the most is %d", m.ProtoReflect().Descriptor().Name(), size, rules.MaxPeerMessage)
			}
		}
	}
}

// fill makes every number in a message, and in those in it, the largest. Texts, lists and messages must be
// there already, so that no new field is forgotten.
func fill(t *testing.T, at string, m protoreflect.Message) {
	t.Helper()
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		name := at + "." + string(f.Name())
		switch {
		case f.IsList() || f.IsMap() || f.Message() != nil || f.Kind() == protoreflect.StringKind || f.Kind() == protoreflect.BytesKind:
			switch {
			case !m.Has(f):
				t.Errorf("nobody knows the largest %s", name)
			case f.IsMap() || f.Message() == nil:
			case f.IsList():
				for j := range m.Get(f).List().Len() {
					item := m.Get(f).List().Get(j).Message()
					if j == 0 || item.Interface() != m.Get(f).List().Get(0).Message().Interface() {
						fill(t, name, item)
					}
				}
			default:
				fill(t, name, m.Get(f).Message())
			}
		default:
			m.Set(f, largestNumber(f))
		}
	}
}

// largestNumber is the number of a field that takes most bytes.
func largestNumber(f protoreflect.FieldDescriptor) protoreflect.Value {
	switch f.Kind() {
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(true)
	case protoreflect.EnumKind:
		values := f.Enum().Values()
		return protoreflect.ValueOfEnum(values.Get(values.Len() - 1).Number())
	case protoreflect.Int32Kind:
		return protoreflect.ValueOfInt32(-1)
	case protoreflect.Int64Kind:
		return protoreflect.ValueOfInt64(-1)
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(1<<32 - 1)
	case protoreflect.DoubleKind:
		return protoreflect.ValueOfFloat64(1)
	default:
		return protoreflect.ValueOfUint64(1<<64 - 1)
	}
}

// A page of a list is one that clients of gRPC take, whatever its locks are like.
func TestLargestPages(t *testing.T) {
	h, w := largestHold(), largestWaiter()
	short, pairs := h, map[string]string{}
	short.Key, short.Metadata = "k", nil
	for i := range sharelock.MaxMetadataPairs {
		pairs[fmt.Sprint(i)] = ""
	}
	small := w
	small.ClientID, small.RequestID, small.Principal, small.Metadata = "c", "", "", pairs
	bare := w
	bare.Metadata = nil
	for name, lock := range map[string]sharelock.KeyState{
		"everything":       {Key: h.Key, Holds: []sharelock.Hold{h}, Waiters: []sharelock.Waiter{w}},
		"long ids":         {Key: "k", Holds: slices.Repeat([]sharelock.Hold{short}, 20)},
		"waiters":          {Key: "k", Waiters: slices.Repeat([]sharelock.Waiter{bare}, 20)},
		"small waiters":    {Key: "k", Waiters: slices.Repeat([]sharelock.Waiter{small}, 50)},
		"long keys":        {Key: h.Key, Holds: []sharelock.Hold{{Key: h.Key, ClientID: "c", TTL: time.Minute, ExpiresIn: time.Minute}}},
		"nothing but keys": {Key: "k", Holds: []sharelock.Hold{{Key: "k", ClientID: "c", TTL: time.Minute, ExpiresIn: time.Minute}}},
	} {
		lock.Owner, lock.HoldCount, lock.WaiterCount = longest(64), sharelock.MaxSlots, sharelock.MaxSlots
		l := owner.Listing{Locks: slices.Repeat([]sharelock.KeyState{lock}, sharelock.MaxPageSize+1)}
		l.Cut(sharelock.MaxPageSize)
		page := &sharelockv1.ListResponse{Locks: sharelockv1.LocksToProto(l.Locks), NextPageToken: longest(1024)}
		size := proto.Size(page)
		t.Logf("%s: %d locks, %d bytes", name, len(l.Locks), size)
		if size > sharelock.MaxMessageBytes*3/4 {
			t.Errorf("%s: a page has %d bytes, clients take %d", name, size, sharelock.MaxMessageBytes)
		}
	}
}
