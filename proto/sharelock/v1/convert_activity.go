package sharelockv1

import (
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/intconv"
)

// ActivityToProto returns what a member does on the wire.
func ActivityToProto(a sharelock.Activity) *MemberActivity {
	return &MemberActivity{
		Name:          a.Name,
		Error:         a.Err,
		Holds:         uint64(max(a.Holds, 0)),
		Waiters:       uint64(max(a.Waiters, 0)),
		LongestWait:   durationpb.New(a.LongestWait),
		Grants:        a.Grants,
		Ends:          a.Ends,
		CopiesMissing: intconv.Uint32(a.CopiesMissing),
		Quarantined:   intconv.Uint32(a.Quarantined),
		Contended:     each(a.Contended, contentionToProto),
	}
}

// ActivityFromProto returns what a member does as the wire says. For nil it returns the zero
// Activity.
func ActivityFromProto(m *MemberActivity) sharelock.Activity {
	return sharelock.Activity{
		Name:          m.GetName(),
		Err:           m.GetError(),
		Holds:         intconv.Int(m.GetHolds()),
		Waiters:       intconv.Int(m.GetWaiters()),
		LongestWait:   duration(m.GetLongestWait()),
		Grants:        m.GetGrants(),
		Ends:          m.GetEnds(),
		CopiesMissing: int(m.GetCopiesMissing()),
		Quarantined:   int(m.GetQuarantined()),
		Contended:     each(m.GetContended(), contentionFromProto),
	}
}

func contentionToProto(c sharelock.Contention) *Contention {
	return &Contention{
		Key: c.Key, Holds: intconv.Uint32(c.Holds), Waiters: intconv.Uint32(c.Waiters), LongestWait: durationpb.New(c.LongestWait),
	}
}

func contentionFromProto(m *Contention) sharelock.Contention {
	return sharelock.Contention{
		Key: m.GetKey(), Holds: int(m.GetHolds()), Waiters: int(m.GetWaiters()), LongestWait: duration(m.GetLongestWait()),
	}
}
