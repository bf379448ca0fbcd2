package peer

import (
	"github.com/sgkandale/sharelock/owner"
	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
)

// Conversions between Go types and messages of the peer protocol. The two functions of each pair
// are inverse to each other.

func heldToProto(held []owner.Held) []*peerv1.Held {
	p := make([]*peerv1.Held, len(held))
	for i, h := range held {
		p[i] = copyToProto(h)
	}
	return p
}

func heldFromProto(p []*peerv1.Held) []owner.Held {
	held := make([]owner.Held, len(p))
	for i, h := range p {
		held[i] = copyFromProto(h)
	}
	return held
}

func copyToProto(h owner.Held) *peerv1.Held {
	return &peerv1.Held{Partition: h.Partition, Have: h.Have, Seq: h.Seq}
}

func copyFromProto(h *peerv1.Held) owner.Held {
	return owner.Held{Partition: h.GetPartition(), Have: h.GetHave(), Seq: h.GetSeq()}
}

func wantsToProto(wants []owner.Want) []*peerv1.Want {
	p := make([]*peerv1.Want, len(wants))
	for i, w := range wants {
		p[i] = &peerv1.Want{Held: copyToProto(w.Held), Position: w.Position}
	}
	return p
}

func wantsFromProto(p []*peerv1.Want) []owner.Want {
	wants := make([]owner.Want, len(p))
	for i, w := range p {
		wants[i] = owner.Want{Held: copyFromProto(w.GetHeld()), Position: w.GetPosition()}
	}
	return wants
}

func piecesToProto(pieces []owner.Piece) []*peerv1.Piece {
	p := make([]*peerv1.Piece, len(pieces))
	for i, c := range pieces {
		p[i] = &peerv1.Piece{Partition: c.Partition, Data: c.Data, Position: c.Position, Last: c.Last, Missing: c.Missing, Why: c.Why}
	}
	return p
}

func piecesFromProto(p []*peerv1.Piece) []owner.Piece {
	pieces := make([]owner.Piece, len(p))
	for i, c := range p {
		pieces[i] = owner.Piece{Partition: c.GetPartition(), Data: c.GetData(), Position: c.GetPosition(), Last: c.GetLast(), Missing: c.GetMissing(), Why: c.GetWhy()}
	}
	return pieces
}

func basesToProto(bases []owner.Base) []*peerv1.Base {
	p := make([]*peerv1.Base, len(bases))
	for i, b := range bases {
		p[i] = &peerv1.Base{Held: copyToProto(b.Held), Log: b.Log, Same: b.Same, Piece: b.Number, Data: b.Data, Last: b.Last}
	}
	return p
}

func basesFromProto(p []*peerv1.Base) []owner.Base {
	bases := make([]owner.Base, len(p))
	for i, b := range p {
		bases[i] = owner.Base{
			Held: copyFromProto(b.GetHeld()), Log: b.GetLog(), Same: b.GetSame(),
			Number: b.GetPiece(), Data: b.GetData(), Last: b.GetLast(),
		}
	}
	return bases
}

func takenToProto(taken []owner.Taken) []*peerv1.Taken {
	p := make([]*peerv1.Taken, len(taken))
	for i, t := range taken {
		p[i] = &peerv1.Taken{Partition: t.Partition, Next: t.Next, Done: t.Done, Why: t.Why}
	}
	return p
}

func takenFromProto(p []*peerv1.Taken) []owner.Taken {
	taken := make([]owner.Taken, len(p))
	for i, t := range p {
		taken[i] = owner.Taken{Partition: t.GetPartition(), Next: t.GetNext(), Done: t.GetDone(), Why: t.GetWhy()}
	}
	return taken
}
