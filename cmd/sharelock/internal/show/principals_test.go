package show

import (
	"slices"
	"testing"

	"github.com/sgkandale/sharelock"
)

// The tables have a column for principals only if there are any.
func TestPrincipalColumn(t *testing.T) {
	hold := sharelock.Hold{ClientID: "c", Principal: "apps/ci"}
	for name, c := range map[string]struct {
		rows [][]string
		has  bool
	}{
		"holds of nobody":   {holdRows([]sharelock.Hold{{ClientID: "c"}}), false},
		"holds":             {holdRows([]sharelock.Hold{{ClientID: "c"}, hold}), true},
		"waiters of nobody": {waiterRows([]sharelock.Waiter{{ClientID: "c"}}), false},
		"waiters":           {waiterRows([]sharelock.Waiter{{ClientID: "c"}, {ClientID: "c", Principal: "apps/ci"}}), true},
		"locks of nobody":   {lockRows([]sharelock.KeyState{{Key: "k"}}), false},
		"locks":             {lockRows([]sharelock.KeyState{{Key: "k"}, {Key: "l", Holds: []sharelock.Hold{hold}}}), true},
	} {
		at := slices.Index(c.rows[0], "PRINCIPAL")
		if (at >= 0) != c.has {
			t.Errorf("%s: the head is %q", name, c.rows[0])
			continue
		}
		for _, row := range c.rows {
			if len(row) != len(c.rows[0]) {
				t.Errorf("%s: row %q below %q", name, row, c.rows[0])
			}
		}
		if c.has && (c.rows[1][at] != "-" || c.rows[2][at] != "apps/ci") {
			t.Errorf("%s: principals %q and %q", name, c.rows[1][at], c.rows[2][at])
		}
	}
}
