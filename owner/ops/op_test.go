package ops

import (
	"errors"
	"fmt"
	"testing"

	"github.com/sgkandale/sharelock/internal/release"
)

// An op of a later release is told from a damaged one.
func TestUnknownOp(t *testing.T) {
	kind := (&Op{Kind: Read, Key: "k"}).Append(nil)
	kind[0] = byte(Last) + 1
	flag := (&Op{Kind: Read, Key: "k"}).Append(nil)
	flag[1] |= FlagPrincipal
	why := (&Op{Kind: Release, Key: "k", Token: 1, Why: Silent}).Append(nil)
	why[len(why)-1]++
	for name, c := range map[string]struct {
		op      []byte
		unknown bool
	}{
		"a kind":            {kind, true},
		"a kind cut short":  {kind[:2], true},
		"not its flag":      {flag, false},
		"a reason":          {why, true},
		"no kind":           {[]byte{0, 0, 1, 'k'}, false},
		"cut short":         {[]byte{byte(Read)}, false},
		"nothing":           {nil, false},
		"a key of no bytes": {[]byte{byte(Read), 0, 0}, false},
	} {
		var op Op
		_, err := op.Decode(c.op)
		if errors.Is(err, release.ErrUnknown) != c.unknown || !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Who has forced a release is in the op, since release 2 (W1). The encoding is a contract.
func TestForcedBy(t *testing.T) {
	op := Op{Kind: Release, Key: "k", Token: 5, Why: Forced, By: "ops", Remember: true}
	b := op.Append(nil)
	if got, want := fmt.Sprintf("%x", b), "0490016b036f70730503"; got != want {
		t.Errorf("encoded %s, want %s", got, want)
	}
	var got Op
	if rest, err := got.Decode(b); err != nil || len(rest) > 0 || got.By != op.By || got.Principal != "" {
		t.Errorf("decoded %+v, %v", got, err)
	}
	if !op.Early(1) || op.Early(release.Principals) {
		t.Error("views of release 1 do not know it")
	}
	op.Why = Released
	if err := op.Valid(); err == nil {
		t.Error("nobody forces a release that is not forced")
	}
}
