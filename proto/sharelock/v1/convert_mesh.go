package sharelockv1

import (
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/intconv"
)

// MeshToProto returns a node's view of the mesh on the wire.
func MeshToProto(s sharelock.MeshState) *GetMeshResponse {
	return &GetMeshResponse{
		Cluster:          s.Cluster,
		Node:             s.Node,
		Epoch:            s.Epoch,
		Leader:           s.Leader,
		Lease:            &Lease{Valid: s.LeaseValid, Remaining: durationpb.New(s.LeaseRemaining)},
		Partitions:       intconv.Uint32(s.Partitions),
		Replicas:         intconv.Uint32(s.Replicas),
		Quarantined:      intconv.Uint32(s.Quarantined),
		Active:           intconv.Uint32(s.Active),
		Release:          s.Release,
		Members:          each(s.Members, memberToProto),
		Stalls:           each(s.Stalls, stallToProto),
		Seats:            each(s.Seats, seatToProto),
		SurvivableLosses: intconv.Uint32(s.Survives),
		DiskError:        s.DiskError,
		Conditions:       each(s.Conditions, conditionToProto),
		AuditDropped:     s.AuditDropped,
		CopiesMissing:    intconv.Uint32(s.CopiesMissing),
		SeatWaits:        s.SeatWaits,
		AuthHash:         s.AuthHash,
	}
}

// MeshFromProto returns the view of the mesh that the wire names. For nil it returns the zero
// MeshState.
func MeshFromProto(m *GetMeshResponse) sharelock.MeshState {
	return sharelock.MeshState{
		Cluster:        m.GetCluster(),
		Node:           m.GetNode(),
		Epoch:          m.GetEpoch(),
		Leader:         m.GetLeader(),
		LeaseValid:     m.GetLease().GetValid(),
		LeaseRemaining: duration(m.GetLease().GetRemaining()),
		Partitions:     int(m.GetPartitions()),
		Replicas:       int(m.GetReplicas()),
		Quarantined:    int(m.GetQuarantined()),
		Active:         int(m.GetActive()),
		Release:        m.GetRelease(),
		Members:        each(m.GetMembers(), memberFromProto),
		Stalls:         each(m.GetStalls(), stallFromProto),
		Seats:          each(m.GetSeats(), seatFromProto),
		Survives:       int(m.GetSurvivableLosses()),
		DiskError:      m.GetDiskError(),
		Conditions:     each(m.GetConditions(), conditionFromProto),
		AuditDropped:   m.GetAuditDropped(),
		CopiesMissing:  int(m.GetCopiesMissing()),
		SeatWaits:      m.GetSeatWaits(),
		AuthHash:       m.GetAuthHash(),
	}
}

func memberToProto(m sharelock.Member) *Member {
	return &Member{
		Name:        m.Name,
		Id:          m.ID,
		Incarnation: m.Incarnation,
		Voter:       m.Voter,
		Leaving:     m.Leaving,
		Owns:        intconv.Uint32(m.Owns),
		Backs:       intconv.Uint32(m.Backs),
		Http:        m.HTTP,
		Grpc:        m.GRPC,
		Peer:        m.Peer,
		Release:     m.Release,
		Silent:      m.Silent,
		AuthHash:    m.AuthHash,
	}
}

func memberFromProto(m *Member) sharelock.Member {
	return sharelock.Member{
		Name:        m.GetName(),
		ID:          m.GetId(),
		Incarnation: m.GetIncarnation(),
		Voter:       m.GetVoter(),
		Leaving:     m.GetLeaving(),
		Owns:        int(m.GetOwns()),
		Backs:       int(m.GetBacks()),
		HTTP:        m.GetHttp(),
		GRPC:        m.GetGrpc(),
		Peer:        m.GetPeer(),
		Release:     m.GetRelease(),
		Silent:      m.GetSilent(),
		AuthHash:    m.GetAuthHash(),
	}
}

func stallToProto(s sharelock.Stall) *Stall {
	return &Stall{Member: s.Member, Waiting: durationpb.New(s.Waiting)}
}

func stallFromProto(m *Stall) sharelock.Stall {
	return sharelock.Stall{Member: m.GetMember(), Waiting: duration(m.GetWaiting())}
}

func seatToProto(s sharelock.Seat) *Seat {
	return &Seat{Name: s.Name, Id: s.ID, Absent: s.Absent, Silent: s.Silent, Peer: s.Peer}
}

func seatFromProto(m *Seat) sharelock.Seat {
	return sharelock.Seat{Name: m.GetName(), ID: m.GetId(), Absent: m.GetAbsent(), Silent: m.GetSilent(), Peer: m.GetPeer()}
}

func conditionToProto(c sharelock.Condition) *Condition {
	return &Condition{
		Code: c.Code, Subject: c.Subject, Severe: c.Severe, Lasting: durationpb.New(c.Lasting), Message: c.Message,
	}
}

func conditionFromProto(m *Condition) sharelock.Condition {
	return sharelock.Condition{
		Code: m.GetCode(), Subject: m.GetSubject(), Severe: m.GetSevere(), Lasting: duration(m.GetLasting()), Message: m.GetMessage(),
	}
}

// LocationToProto returns the location of a key on the wire.
func LocationToProto(l sharelock.Location) *LocateResponse {
	return &LocateResponse{Key: l.Key, Partition: l.Partition, Owner: l.Owner, Backups: l.Backups, Epoch: l.Epoch}
}

// LocationFromProto returns the location that the wire names. For nil it returns the zero Location.
func LocationFromProto(m *LocateResponse) sharelock.Location {
	return sharelock.Location{
		Key: m.GetKey(), Partition: m.GetPartition(), Owner: m.GetOwner(), Backups: m.GetBackups(), Epoch: m.GetEpoch(),
	}
}
