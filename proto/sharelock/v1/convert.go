package sharelockv1

import (
	"math"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/intconv"
)

// ModeToProto returns the mode on the wire.
func ModeToProto(m sharelock.Mode) Mode { return Mode(m) }

// ModeFromProto returns the mode of a number on the wire. A number that this release does not know,
// which a newer client may send, is an ErrInvalidArgument.
func ModeFromProto(m Mode) (sharelock.Mode, error) {
	switch m {
	case Mode_EXCLUSIVE:
		return sharelock.Exclusive, nil
	case Mode_SHARED:
		return sharelock.Shared, nil
	default:
		return 0, sharelock.Invalid("mode", "is neither EXCLUSIVE nor SHARED")
	}
}

// lenientMode returns the mode in an answer. An unknown mode of a newer release must not make the
// whole answer fail; it never becomes one of the two known modes.
func lenientMode(m Mode) sharelock.Mode {
	if m < 0 || m > math.MaxUint8 {
		return math.MaxUint8
	}
	return sharelock.Mode(m)
}

// HoldToProto returns the hold on the wire. It leaves out SafeFor, MaxHold and EndsIn if they are
// 0, and Principal if it is empty; only the answers to acquire and renew have a SafeFor.
func HoldToProto(h sharelock.Hold) *Hold {
	m := &Hold{
		Key:       h.Key,
		Token:     uint64(h.Token),
		ClientId:  h.ClientID,
		RequestId: h.RequestID,
		Mode:      ModeToProto(h.Mode),
		Slots:     h.Slots,
		Ttl:       durationpb.New(h.TTL),
		ExpiresIn: durationpb.New(h.ExpiresIn),
		Node:      h.Node,
		Metadata:  h.Metadata,
	}
	if h.SafeFor != 0 {
		m.SafeFor = durationpb.New(h.SafeFor)
	}
	if h.MaxHold != 0 {
		m.MaxHold = durationpb.New(h.MaxHold)
	}
	if h.EndsIn != 0 {
		m.EndsIn = durationpb.New(h.EndsIn)
	}
	m.Principal = textOrNil(h.Principal)
	return m
}

// textOrNil returns nil for an empty text.
func textOrNil(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// HoldFromProto returns the hold of a message, or the zero Hold for nil.
func HoldFromProto(m *Hold) sharelock.Hold {
	return sharelock.Hold{
		Key:       m.GetKey(),
		Token:     sharelock.Token(m.GetToken()),
		ClientID:  m.GetClientId(),
		RequestID: m.GetRequestId(),
		Principal: m.GetPrincipal(),
		Mode:      lenientMode(m.GetMode()),
		Slots:     m.GetSlots(),
		TTL:       duration(m.GetTtl()),
		ExpiresIn: duration(m.GetExpiresIn()),
		SafeFor:   duration(m.GetSafeFor()),
		MaxHold:   duration(m.GetMaxHold()),
		EndsIn:    duration(m.GetEndsIn()),
		Node:      m.GetNode(),
		Metadata:  m.GetMetadata(),
	}
}

// HoldsToProto applies [HoldToProto] to each hold.
func HoldsToProto(holds []sharelock.Hold) []*Hold { return each(holds, HoldToProto) }

// HoldsFromProto applies [HoldFromProto] to each message.
func HoldsFromProto(ms []*Hold) []sharelock.Hold { return each(ms, HoldFromProto) }

// WaiterToProto returns the waiter on the wire.
func WaiterToProto(w sharelock.Waiter) *Waiter {
	return &Waiter{
		ClientId:  w.ClientID,
		RequestId: w.RequestID,
		Principal: textOrNil(w.Principal),
		Mode:      ModeToProto(w.Mode),
		Slots:     w.Slots,
		Waiting:   durationpb.New(w.Waiting),
		Metadata:  w.Metadata,
	}
}

// WaiterFromProto returns the waiter of a message, or the zero Waiter for nil.
func WaiterFromProto(m *Waiter) sharelock.Waiter {
	return sharelock.Waiter{
		ClientID:  m.GetClientId(),
		RequestID: m.GetRequestId(),
		Principal: m.GetPrincipal(),
		Mode:      lenientMode(m.GetMode()),
		Slots:     m.GetSlots(),
		Waiting:   duration(m.GetWaiting()),
		Metadata:  m.GetMetadata(),
	}
}

// LockToProto returns the state of a key on the wire. It leaves out Quarantine if it is 0.
func LockToProto(l sharelock.KeyState) *Lock {
	m := &Lock{
		Key:       l.Key,
		Partition: l.Partition,
		Owner:     l.Owner,
		Epoch:     l.Epoch,
		Holds:     HoldsToProto(l.Holds),
		Waiters:   each(l.Waiters, WaiterToProto),
		// If the lists are complete, the counts need not be set.
		HoldCount:   intconv.Uint32(max(l.HoldCount, len(l.Holds))),
		WaiterCount: intconv.Uint32(max(l.WaiterCount, len(l.Waiters))),
	}
	if l.Quarantine > 0 {
		m.Quarantine = durationpb.New(l.Quarantine)
	}
	return m
}

// LockFromProto returns the state of a key of a message, or the zero state for nil.
func LockFromProto(m *Lock) sharelock.KeyState {
	return sharelock.KeyState{
		Key:         m.GetKey(),
		Partition:   m.GetPartition(),
		Owner:       m.GetOwner(),
		Epoch:       m.GetEpoch(),
		Holds:       HoldsFromProto(m.GetHolds()),
		Waiters:     each(m.GetWaiters(), WaiterFromProto),
		HoldCount:   int(m.GetHoldCount()),
		WaiterCount: int(m.GetWaiterCount()),
		Quarantine:  duration(m.GetQuarantine()),
	}
}

// LocksToProto applies [LockToProto] to each state.
func LocksToProto(locks []sharelock.KeyState) []*Lock { return each(locks, LockToProto) }

// LocksFromProto applies [LockFromProto] to each message.
func LocksFromProto(ms []*Lock) []sharelock.KeyState { return each(ms, LockFromProto) }

// each maps a slice. It returns nil for an empty slice, so that a conversion to the wire and back
// returns the same.
func each[A, B any](in []A, f func(A) B) []B {
	if len(in) == 0 {
		return nil
	}
	out := make([]B, len(in))
	for i := range in {
		out[i] = f(in[i])
	}
	return out
}

// duration returns 0 for an absent duration. AsDuration saturates at the limits of time.Duration.
func duration(d *durationpb.Duration) time.Duration {
	if d == nil {
		return 0
	}
	return d.AsDuration()
}
