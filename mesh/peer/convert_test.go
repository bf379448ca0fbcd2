package peer

import (
	"bytes"
	"fmt"
	"reflect"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/sgkandale/sharelock/owner"
	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
)

// The messages of a transfer of copies arrive as they were sent, and the largest message of each
// kind is a fraction of the size that a member accepts.
func TestTransfersSurviveTheWire(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		some := func(n int) []byte {
			return bytes.Repeat([]byte{byte(n)}, rapid.SampledFrom([]int{0, 1, 100, owner.MaxBytes / 4}).Draw(t, "bytes"))
		}
		held := func(n int) owner.Held { return owner.Held{Partition: uint32(n), Have: 3, Seq: 1 << 60} }
		var wants []owner.Want
		var pieces []owner.Piece
		var bases []owner.Base
		var taken []owner.Taken
		yes := rapid.Bool().Draw(t, "flag")
		for i := range rapid.IntRange(1, 4).Draw(t, "length") {
			wants = append(wants, owner.Want{Held: held(i), Position: some(i)})
			pieces = append(pieces, owner.Piece{Partition: uint32(i), Data: some(i), Position: some(i), Last: yes, Missing: !yes, Why: fmt.Sprint(i)})
			bases = append(bases, owner.Base{Held: held(i), Log: 7, Same: yes, Number: 8, Data: some(i), Last: !yes})
			taken = append(taken, owner.Taken{Partition: uint32(i), Next: 9, Done: yes, Why: "why"})
		}
		equal := func(what string, got, want any) {
			if g, w := reflect.ValueOf(got), reflect.ValueOf(want); g.Len() != w.Len() || !bytesAreEqual(g, w) {
				t.Fatalf("%s arrived as %.200v, want %.200v", what, got, want)
			}
		}
		equal("wants", wantsFromProto(overTheWire(t, &peerv1.FetchRequest{Wants: wantsToProto(wants)}, &peerv1.FetchRequest{}).GetWants()), wants)
		equal("pieces", piecesFromProto(overTheWire(t, &peerv1.FetchResponse{Pieces: piecesToProto(pieces)}, &peerv1.FetchResponse{}).GetPieces()), pieces)
		equal("bases", basesFromProto(overTheWire(t, &peerv1.SyncRequest{Bases: basesToProto(bases)}, &peerv1.SyncRequest{}).GetBases()), bases)
		equal("taken", takenFromProto(overTheWire(t, &peerv1.SyncResponse{Taken: takenToProto(taken)}, &peerv1.SyncResponse{}).GetTaken()), taken)
	})
}

// bytesAreEqual compares lists of structs; empty and nil slices of bytes are equal.
func bytesAreEqual(g, w reflect.Value) bool {
	for i := range g.Len() {
		for f := range g.Index(i).NumField() {
			a, b := g.Index(i).Field(f).Interface(), w.Index(i).Field(f).Interface()
			if x, is := a.([]byte); is && bytes.Equal(x, b.([]byte)) {
				continue
			}
			if !reflect.DeepEqual(a, b) {
				return false
			}
		}
	}
	return true
}

// overTheWire encodes and decodes a message as a link does.
func overTheWire[M proto.Message](t rapid.TB, in, out M) M {
	t.Helper()
	data, err := proto.Marshal(in)
	if err == nil {
		err = proto.Unmarshal(data, out)
	}
	if err != nil {
		t.Fatal(err)
	}
	return out
}
