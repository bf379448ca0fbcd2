package machine

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/owner/ops"
)

// BenchmarkMove is how long a copy at its bound (Q6) takes from its encoding at the owner to
// the machine of the backup, piece by piece, without the calls between them.
func BenchmarkMove(b *testing.B) {
	m := atItsBound(b)
	var pieces [][]byte
	size := 0
	for at, last := []byte(nil), false; !last; {
		var piece []byte
		var err error
		if piece, at, last, err = m.Piece(0, at, nil); err != nil {
			b.Fatal(err)
		}
		pieces = append(pieces, piece)
		size += len(piece)
	}
	b.Run("encode", func(b *testing.B) {
		b.SetBytes(int64(size))
		b.ReportAllocs()
		for b.Loop() {
			for at, last := []byte(nil), false; !last; {
				var err error
				if _, at, last, err = m.Piece(0, at, nil); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
	b.Run("decode", func(b *testing.B) {
		b.SetBytes(int64(size))
		b.ReportAllocs()
		for b.Loop() {
			d := NewAssembler(0, 1)
			for _, piece := range pieces {
				if err := d.Add(0, piece); err != nil {
					b.Fatal(err)
				}
			}
			if _, err := d.Machine(); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// atItsBound is a machine at its bound: holds of one key with as much metadata as they may have.
func atItsBound(b *testing.B) *Machine {
	b.Helper()
	metadata := map[string]string{}
	for j := range 15 {
		metadata[fmt.Sprint("m", j)] = strings.Repeat("x", 126)
	}
	m := New(0, 1)
	for token := sharelock.MakeToken(7, 1); m.Bytes() < 16<<20; token++ {
		if err := m.Apply(0, &ops.Op{
			Kind: ops.Grant, Key: "k", ClientID: "c", RequestID: fmt.Sprint(token), TTL: time.Hour, Mode: sharelock.Shared,
			Token: token, Metadata: maps.Clone(metadata),
		}); err != nil {
			b.Fatal(err)
		}
	}
	return m
}
