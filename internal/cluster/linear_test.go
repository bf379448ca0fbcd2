package cluster

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/linear"
)

// TestLinearOutcomes: an error counts as a refusal only if it leaves nothing open.
func TestLinearOutcomes(t *testing.T) {
	answered := time.Now()
	held := &sharelock.Error{Err: sharelock.ErrLockHeld, Holds: []sharelock.Hold{{Token: 7, RequestID: "r", ClientID: "c"}}}
	for _, tt := range []struct {
		call  Call
		want  linear.Outcome
		holds []linear.Hold
	}{
		{Call{Op: Acquire}, linear.Unknown, nil},
		{Call{Op: Acquire, End: answered}, linear.OK, nil},
		{Call{Op: Acquire, End: answered, Err: fmt.Errorf("acquire: %w", held)}, linear.Refused, []linear.Hold{{Token: 7, RequestID: "r", Client: "c"}}},
		{Call{Op: Acquire, End: answered, Err: sharelock.ErrRequestOver}, linear.Unknown, nil},
		{Call{Op: Acquire, End: answered, Err: sharelock.ErrNoQuorum}, linear.Unknown, nil},
		{Call{Op: Renew, End: answered, Err: sharelock.ErrStaleToken}, linear.Refused, nil},
		{Call{Op: Release, End: answered, Err: sharelock.ErrNotHeld}, linear.Refused, nil},
		{Call{Op: Release, End: answered, Err: sharelock.ErrNotReady}, linear.Unknown, nil},
		{Call{Op: Get, End: answered, Err: sharelock.ErrNotHeld}, linear.Refused, nil},
		{Call{Op: Get, End: answered, Err: sharelock.ErrQuarantined}, linear.Unknown, nil},
		{Call{Op: Check, End: answered, Err: sharelock.ErrQuarantined}, linear.Unknown, nil},
	} {
		if got := tt.call.linear(); got.Outcome != tt.want || !reflect.DeepEqual(got.Holds, tt.holds) {
			t.Errorf("%s %v: outcome %v, holders %v; want %v, %v", tt.call.Op, tt.call.Err, got.Outcome, got.Holds, tt.want, tt.holds)
		}
	}
}

// TestLinearizable: the check at the end of a test finds what only the order of the calls shows, and
// allows what is possible only after the loss of a node.
func TestLinearizable(t *testing.T) {
	for name, c := range map[string]struct {
		tell func(s story)
		bad  bool
	}{
		"right": {func(s story) {
			s.grant("a", 1, 0, 10, 1000)
			s.add(Call{Op: Get, Holds: []sharelock.Hold{{Token: 1}}, HoldCount: 1}, 20, 30)
			s.add(Call{Op: Check, Token: 1, Holds: []sharelock.Hold{{Token: 1}}, HoldCount: 1, Current: true}, 20, 30)
		}, false},
		"a read that is late": {func(s story) {
			s.grant("a", 1, 0, 10, 1000)
			s.release(1, 20, 30)
			s.add(Call{Op: Get, Holds: []sharelock.Hold{{Token: 1}}, HoldCount: 1}, 40, 50)
		}, true},
		"a read that shows one of two": {func(s story) {
			s.grant("a", 1, 0, 10, 1000).Mode = sharelock.Shared
			s.grant("b", 2, 0, 10, 1000).Mode = sharelock.Shared
			s.add(Call{Op: Get, Holds: []sharelock.Hold{{Token: 1}}, HoldCount: 2}, 40, 50)
		}, false},
		"a lock that is lost": {func(s story) {
			s.event(Started, -10)
			s.grant("a", 1, 0, 10, 1000)
			s.add(Call{Op: Renew, Token: 1, Err: sharelock.ErrNotHeld}, 20, 30)
			s.event(Killed, 40)
		}, true},
		"a lock that is lost with its node": {func(s story) {
			s.grant("a", 1, 0, 10, 1000)
			s.event(Killed, 20)
			s.add(Call{Op: Renew, Token: 1, Err: sharelock.ErrNotHeld}, 15, 30)
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStory()
			c.tell(s)
			cluster := &Cluster{history: s.h, net: NewMemNet(1)}
			err := cluster.checkLinearizable()
			var v *ViolationError
			if c.bad != errors.As(err, &v) || c.bad && (v.Invariant != Linearizable || !strings.Contains(v.What, `key "k": not linearizable`)) {
				t.Errorf("%v, want a violation: %t", err, c.bad)
			}
			cluster.opts.Without = []Invariant{Linearizable}
			if err := cluster.checkLinearizable(); err != nil {
				t.Errorf("left out, and found: %v", err)
			}
		})
	}
}
