package sharelockv1

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"
)

func drawMode(t *rapid.T) sharelock.Mode {
	return rapid.SampledFrom([]sharelock.Mode{sharelock.Exclusive, sharelock.Shared}).Draw(t, "mode")
}

func drawDuration(t *rapid.T) time.Duration {
	return time.Duration(rapid.Int64Range(0, int64(1000*time.Hour)).Draw(t, "duration"))
}

func drawMetadata(t *rapid.T) map[string]string {
	m := rapid.MapOfN(rapid.String(), rapid.String(), 0, 3).Draw(t, "metadata")
	if len(m) == 0 {
		return nil
	}
	return m
}

func drawHold(t *rapid.T) sharelock.Hold {
	return sharelock.Hold{
		Key:       rapid.String().Draw(t, "key"),
		Token:     sharelock.Token(rapid.Uint64Range(0, 1<<63-1).Draw(t, "token")),
		ClientID:  rapid.String().Draw(t, "client"),
		RequestID: rapid.String().Draw(t, "request"),
		Mode:      drawMode(t),
		Slots:     rapid.Uint32().Draw(t, "slots"),
		TTL:       drawDuration(t),
		ExpiresIn: drawDuration(t),
		SafeFor:   drawDuration(t),
		MaxHold:   drawDuration(t),
		EndsIn:    drawDuration(t),
		Node:      rapid.String().Draw(t, "node"),
		Metadata:  drawMetadata(t),
	}
}

func drawWaiter(t *rapid.T) sharelock.Waiter {
	return sharelock.Waiter{
		ClientID:  rapid.String().Draw(t, "client"),
		RequestID: rapid.String().Draw(t, "request"),
		Mode:      drawMode(t),
		Slots:     rapid.Uint32().Draw(t, "slots"),
		Waiting:   drawDuration(t),
		Metadata:  drawMetadata(t),
	}
}

// Whatever goes over the wire comes back the same.
func TestLockRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := sharelock.KeyState{
			Key:        rapid.String().Draw(t, "key"),
			Partition:  rapid.Uint32().Draw(t, "partition"),
			Owner:      rapid.String().Draw(t, "owner"),
			Epoch:      rapid.Uint32().Draw(t, "epoch"),
			Quarantine: drawDuration(t),
		}
		for range rapid.IntRange(0, 2).Draw(t, "holds") {
			want.Holds = append(want.Holds, drawHold(t))
		}
		for range rapid.IntRange(0, 2).Draw(t, "waiters") {
			want.Waiters = append(want.Waiters, drawWaiter(t))
		}
		want.HoldCount = len(want.Holds) + rapid.IntRange(0, 1e6).Draw(t, "more holds")
		want.WaiterCount = len(want.Waiters) + rapid.IntRange(0, 1e6).Draw(t, "more waiters")
		data, err := proto.Marshal(&ListResponse{Locks: LocksToProto([]sharelock.KeyState{want})})
		if err != nil {
			t.Fatal(err)
		}
		m := &ListResponse{}
		if err := proto.Unmarshal(data, m); err != nil {
			t.Fatal(err)
		}
		if got := LocksFromProto(m.GetLocks()); len(got) != 1 || !reflect.DeepEqual(got[0], want) {
			t.Fatalf("got %+v, want %+v", got, want)
		}
	})
}

func TestAbsentMessagesAreZero(t *testing.T) {
	if got := HoldFromProto(nil); !reflect.DeepEqual(got, sharelock.Hold{}) {
		t.Errorf("hold %+v", got)
	}
	if got := LockFromProto(nil); !reflect.DeepEqual(got, sharelock.KeyState{}) {
		t.Errorf("lock %+v", got)
	}
	if got := WaiterFromProto(&Waiter{}); !reflect.DeepEqual(got, sharelock.Waiter{}) {
		t.Errorf("waiter %+v", got)
	}
	if HoldToProto(sharelock.Hold{}).SafeFor != nil || LockToProto(sharelock.KeyState{}).Quarantine != nil {
		t.Error("a zero that means absent is on the wire")
	}
}

// A mode number that would be EXCLUSIVE after losing its upper bits is refused in
// a request and never taken for EXCLUSIVE in an answer.
func TestUnknownModes(t *testing.T) {
	for _, m := range []Mode{2, 256, 1 << 30, -1} {
		if _, err := ModeFromProto(m); !errors.Is(err, sharelock.ErrInvalidArgument) {
			t.Errorf("mode %d: %v", m, err)
		}
	}
	for _, m := range []Mode{2, 256, 257, -1} {
		if got := HoldFromProto(&Hold{Mode: m}).Mode; got == sharelock.Exclusive || got == sharelock.Shared {
			t.Errorf("mode %d was read as %v", m, got)
		}
	}
	for _, m := range []sharelock.Mode{sharelock.Exclusive, sharelock.Shared} {
		if got, err := ModeFromProto(ModeToProto(m)); err != nil || got != m || m.String() != ModeToProto(m).String() {
			t.Errorf("%v came back as %v, %v", m, got, err)
		}
	}
}
