package api

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"time"
	"unicode/utf8"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/api/gate"
	"github.com/sgkandale/sharelock/internal/caller"
	"github.com/sgkandale/sharelock/internal/sessionwire"
	"github.com/sgkandale/sharelock/internal/share"
	pb "github.com/sgkandale/sharelock/proto/sharelock/v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/durationpb"
)

// clientIDHeader is the header that names the caller if the request does not.
const clientIDHeader = "X-Client-Id"

// locks implements sharelock.v1.LockService in front of a Locker. It returns the errors of package
// sharelock. Its callers, the gRPC interceptors and the HTTP handlers, convert them.
type locks struct {
	pb.UnimplementedLockServiceServer
	node Locker
	// watcher serves watches.
	watcher   Watcher
	historian Historian
	// drain is closed to end the sessions; it may be nil.
	drain <-chan struct{}
	// ring returns the owners of all partitions, a GetRingResponse in wire format.
	ring func() []byte
	// log is the logger of sessions.
	log *slog.Logger
	// gate makes the checks of handlers that check by themselves; it may be nil.
	gate *gate.Gate
	// sessions holds the places of the sessions; nil where no sessions are served.
	sessions *share.Places
}

func (s *locks) Acquire(ctx context.Context, m *pb.AcquireRequest) (*pb.AcquireResponse, error) {
	ttl, err := givenTTL(m.GetTtl())
	if err != nil {
		return nil, err
	}
	wait, err := givenWait(m.GetWait())
	if err != nil {
		return nil, err
	}
	mode, err := pb.ModeFromProto(m.GetMode())
	if err != nil {
		return nil, err
	}
	maxHold, err := givenDuration("max_hold", m.GetMaxHold())
	if err != nil {
		return nil, err
	}
	id := m.GetClientId()
	if id == "" {
		id = clientIDFromMetadata(ctx)
	}
	allowed, done := s.gate.Wait(ctx, m.GetKey()) // allowed ends with done
	hold, err := s.node.Acquire(allowed, sharelock.AcquireRequest{
		Key:       m.GetKey(),
		ClientID:  id,
		RequestID: m.GetRequestId(),
		TTL:       ttl,
		Wait:      wait,
		Mode:      mode,
		Slots:     m.GetSlots(),
		Metadata:  m.GetMetadata(),
		MaxHold:   maxHold,
	})
	if hold, err = stillAllowed(s.node, hold, err, done(), m.GetRequestId() != ""); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil && m.GetRequestId() == "" {
		takeBack(s.node, hold)
		return nil, err
	}
	return &pb.AcquireResponse{Hold: pb.HoldToProto(hold)}, nil
}

// stillAllowed returns the answer of an acquire. If revoked is not nil, the caller may no longer have the
// key. A grant is then released, unless the caller made its request id (ownID): with that it can get the
// grant when it is allowed again.
func stillAllowed(node Locker, h sharelock.Hold, err, revoked error, ownID bool) (sharelock.Hold, error) {
	if revoked == nil {
		return h, err
	}
	if err == nil && !ownID {
		takeBack(node, h)
	}
	return sharelock.Hold{}, revoked
}

// takeBackTime is how long takeBack waits for the release. The release continues after that.
const takeBackTime = 3 * time.Second

// takeBack releases a grant that could not be delivered to a caller without a request id.
func takeBack(node Locker, h sharelock.Hold) {
	t := time.NewTimer(takeBackTime)
	defer t.Stop()
	select {
	case <-node.TakeBack(h):
	case <-t.C:
	}
}

func (s *locks) Renew(ctx context.Context, m *pb.RenewRequest) (*pb.RenewResponse, error) {
	token, err := givenToken(m.GetToken())
	if err != nil {
		return nil, err
	}
	ttl, err := givenTTL(m.GetTtl())
	if err != nil {
		return nil, err
	}
	metadata := m.GetMetadata()
	switch {
	case len(metadata) == 0:
		if metadata = nil; m.GetClearMetadata() {
			metadata = map[string]string{}
		}
	case m.GetClearMetadata():
		return nil, sessionwire.ErrMetadataTwice
	}
	hold, err := s.node.Renew(ctx, m.GetKey(), token, ttl, metadata)
	if err != nil {
		return nil, err
	}
	return &pb.RenewResponse{Hold: pb.HoldToProto(hold)}, nil
}

func (s *locks) Release(ctx context.Context, m *pb.ReleaseRequest) (*pb.ReleaseResponse, error) {
	token, err := givenToken(m.GetToken())
	if err != nil {
		return nil, err
	}
	hold, err := s.node.Release(ctx, m.GetKey(), token, m.GetSentOnce())
	if err != nil {
		return nil, err
	}
	return &pb.ReleaseResponse{Hold: ended(pb.HoldToProto(hold))}, nil
}

func (s *locks) GiveUp(ctx context.Context, m *pb.GiveUpRequest) (*pb.GiveUpResponse, error) {
	id := m.GetClientId()
	if id == "" {
		id = clientIDFromMetadata(ctx)
	}
	if err := s.node.GiveUp(ctx, m.GetKey(), id, m.GetRequestId()); err != nil {
		return nil, err
	}
	return &pb.GiveUpResponse{}, nil
}

func (s *locks) Get(ctx context.Context, m *pb.GetRequest) (*pb.GetResponse, error) {
	lock, err := s.node.Get(ctx, m.GetKey())
	if err != nil {
		return nil, err
	}
	return &pb.GetResponse{Lock: pb.LockToProto(lock)}, nil
}

func (s *locks) List(ctx context.Context, m *pb.ListRequest) (*pb.ListResponse, error) {
	r := sharelock.ListRequest{
		Prefix:   m.GetPrefix(),
		ClientID: m.GetClientId(),
		// An int may have 32 bits only. The node refuses every number above MaxPageSize.
		PageSize:  int(min(m.GetPageSize(), math.MaxInt32)),
		PageToken: m.GetPageToken(),
	}
	readable, all, err := s.gate.Within(ctx, r.Prefix)
	if err != nil {
		return nil, err
	}
	var page sharelock.ListPage
	if all {
		page, err = s.node.List(ctx, r)
	} else {
		page, err = listWithin(ctx, s.node, r, readable)
	}
	if err != nil {
		return nil, err
	}
	return &pb.ListResponse{
		Locks:         pb.LocksToProto(page.Locks),
		NextPageToken: page.NextPageToken,
		Quarantined:   count(page.Quarantined),
		Filtered:      !all,
	}, nil
}

func (s *locks) CheckToken(ctx context.Context, m *pb.CheckTokenRequest) (*pb.CheckTokenResponse, error) {
	// Token 0 is valid here: a resource that got no token must learn that it is not a grant.
	token, err := anyToken(m.GetToken())
	if err != nil {
		return nil, err
	}
	check, err := s.node.CheckToken(ctx, m.GetKey(), token)
	if err != nil {
		return nil, err
	}
	return &pb.CheckTokenResponse{
		Stale: !check.Current, Holds: pb.HoldsToProto(check.Holds),
		HoldCount: count(max(check.HoldCount, len(check.Holds))), WaiterCount: count(check.WaiterCount),
	}, nil
}

func (s *locks) ForceRelease(ctx context.Context, m *pb.ForceReleaseRequest) (*pb.ForceReleaseResponse, error) {
	token, err := anyToken(m.GetToken())
	if err != nil {
		return nil, err
	}
	if n := len(m.GetReason()); n > sharelock.MaxReasonBytes {
		return nil, sharelock.Invalid("reason", fmt.Sprintf("has %d bytes, the most is %d", n, sharelock.MaxReasonBytes))
	}
	holds, err := s.node.ForceRelease(named(ctx, clientIDFromMetadata(ctx)), m.GetKey(), token, m.GetReason())
	if err != nil {
		return nil, err
	}
	r := &pb.ForceReleaseResponse{Holds: pb.HoldsToProto(holds)}
	for _, h := range r.Holds {
		ended(h)
	}
	if len(r.Holds) > 0 {
		r.Hold = r.Holds[0]
	}
	return r, nil
}

// ended removes the times that an ended hold does not have, and returns it.
func ended(h *pb.Hold) *pb.Hold {
	h.ExpiresIn, h.EndsIn = nil, nil
	return h
}

// givenTTL returns the TTL of a request, or 0 if it is absent. Since 0 means the default to the
// node, a TTL of 0 in the request is refused here.
func givenTTL(d *durationpb.Duration) (time.Duration, error) {
	if d == nil {
		return 0, nil
	}
	ttl, err := givenDuration("ttl", d)
	if err == nil && ttl < sharelock.MinTTL {
		err = sharelock.Invalid("ttl", fmt.Sprintf("%v is below the least, %v", ttl, sharelock.MinTTL))
	}
	return ttl, err
}

// givenWait returns the wait of a request, or DefaultWait if it is absent. Since every negative
// wait means the default to the node, a negative wait in the request is refused here.
func givenWait(d *durationpb.Duration) (time.Duration, error) {
	if d == nil {
		return sharelock.DefaultWait, nil
	}
	wait, err := givenDuration("wait", d)
	if err == nil && wait < 0 {
		err = sharelock.Invalid("wait", fmt.Sprintf("%v is negative", wait))
	}
	return wait, err
}

// givenDuration converts a duration. It refuses malformed durations, and durations that
// time.Duration cannot represent, which AsDuration would silently replace by the nearest: a
// protobuf Duration reaches 10,000 years, a time.Duration 292 years.
func givenDuration(field string, d *durationpb.Duration) (time.Duration, error) {
	got := d.AsDuration()
	if back := durationpb.New(got); back.GetSeconds() != d.GetSeconds() || back.GetNanos() != d.GetNanos() {
		return 0, sharelock.Invalid(field, "is malformed or out of range")
	}
	return got, nil
}

// givenToken converts the token of a call that acts on one grant. It refuses 0.
func givenToken(token uint64) (sharelock.Token, error) {
	if token == 0 {
		return 0, sharelock.Invalid("token", "must be given")
	}
	return anyToken(token)
}

func anyToken(token uint64) (sharelock.Token, error) {
	if token > math.MaxInt64 {
		return 0, sharelock.Invalid("token", "does not fit a signed 64-bit integer")
	}
	return sharelock.Token(token), nil
}

// named returns a context whose caller has a client id, if clientID is valid and ctx has none yet. It is
// for calls whose callers the history records.
func named(ctx context.Context, clientID string) context.Context {
	c := caller.From(ctx)
	if c.ClientID != "" || sharelock.CheckClientID(clientID) != nil {
		return ctx
	}
	c.ClientID = clientID
	return caller.With(ctx, c)
}

// clientIDFromMetadata returns the first x-client-id of a gRPC call that is not empty. A call over
// HTTP has no metadata; the HTTP handlers put the header into the request.
func clientIDFromMetadata(ctx context.Context) string {
	for _, id := range metadata.ValueFromIncomingContext(ctx, clientIDHeader) {
		if id != "" && utf8.ValidString(id) {
			return id
		}
	}
	return ""
}
