package ringproto

import (
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"github.com/sgkandale/sharelock/ring"
)

// Decoding is the inverse of encoding, and loses no field.
func TestInverse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := rapid.Make[ring.View]().Draw(t, "view")
		// They are 32 bits on the wire.
		v.Replicas, v.Placement = int(uint32(v.Replicas)), int(uint32(v.Placement))
		if len(v.Members) == 0 {
			v.Members = nil
		}
		if got := DecodeView(EncodeView(v)); !reflect.DeepEqual(got, v) {
			t.Errorf("decoded is %+v, want %+v", got, v)
		}
	})
	if got := DecodeIdentity(nil); got != (ring.Identity{}) {
		t.Errorf("nil is decoded to %v", got)
	}
}
