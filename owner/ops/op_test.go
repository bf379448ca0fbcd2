package ops

import (
	"errors"
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
