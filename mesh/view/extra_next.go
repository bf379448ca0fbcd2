//go:build release_next

package view

import (
	"context"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/sgkandale/sharelock/internal/release"
	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
)

// What the next release adds, for tests: a command, "mark", which is counted, and a field of
// proposals with the number of marks that the proposer has seen. Neither is in the .proto files,
// because this release must not know them.
const (
	extraRelease = 3
	// markField is the command's field in Command; seenField that of proposals; in a
	// snapshot they are the two counts.
	markField protowire.Number = 100
	seenField protowire.Number = 101
)

// extra is the part of Raft's state that the next release adds.
type extra struct{ marks, seen uint64 }

func (e extra) apply(c *peerv1.Command, program release.Range) (next extra, done bool, err error) {
	if program.Newest < extraRelease {
		return e, false, nil
	}
	m := c.ProtoReflect()
	if n, ok := only(m.GetUnknown(), markField); ok && c.GetKind() == nil {
		m.SetUnknown(nil)
		e.marks += n
		return e, true, nil
	}
	if p := c.GetPropose().ProtoReflect(); p.IsValid() {
		if n, ok := only(p.GetUnknown(), seenField); ok {
			p.SetUnknown(nil)
			if n > e.marks {
				return e, false, fmt.Errorf("the proposer has seen %d marks, and there are %d", n, e.marks)
			}
			e.seen = n
		}
	}
	return e, false, nil
}

// numbers decodes unknown fields. It returns nil if one of them is not a varint.
func numbers(b []byte) map[protowire.Number]uint64 {
	got := map[protowire.Number]uint64{}
	for len(b) > 0 {
		field, typ, n := protowire.ConsumeTag(b)
		if n < 0 || typ != protowire.VarintType {
			return nil
		}
		v, m := protowire.ConsumeVarint(b[n:])
		if m < 0 {
			return nil
		}
		got[field], b = v, b[n+m:]
	}
	return got
}

// only returns the value of an unknown field; ok is false if there are others, too.
func only(b []byte, field protowire.Number) (n uint64, ok bool) {
	got := numbers(b)
	n, ok = got[field]
	return n, ok && len(got) == 1
}

func with(b []byte, field protowire.Number, n uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, field, protowire.VarintType), n)
}

func (e extra) save(p *peerv1.Snapshot) {
	if e != (extra{}) {
		p.ProtoReflect().SetUnknown(with(with(nil, markField, e.marks), seenField, e.seen))
	}
}

func (e *extra) restore(p *peerv1.Snapshot) error {
	m := p.ProtoReflect()
	got := numbers(m.GetUnknown())
	marks, one := got[markField]
	seen, two := got[seenField]
	if len(got) == 2 && one && two {
		e.marks, e.seen = marks, seen
		m.SetUnknown(nil)
	}
	return nil // decodeSnapshot finds what is left
}

// beforeProposal appends a mark and puts the number of marks into the proposal, if the view
// supports that (W1).
func (a *Raft) beforeProposal(ctx context.Context, c *peerv1.Command) error {
	if !a.State().View().Supports(extraRelease) {
		return nil
	}
	mark := &peerv1.Command{}
	mark.ProtoReflect().SetUnknown(with(nil, markField, 1))
	out, err := a.apply(ctx, mark)
	if err != nil {
		return err
	}
	a.log.Info("marked, as the next release does", "marks", out.state.extra.marks)
	c.GetPropose().ProtoReflect().SetUnknown(with(nil, seenField, out.state.extra.marks))
	return nil
}
