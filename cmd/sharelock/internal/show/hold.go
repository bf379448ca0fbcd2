package show

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/cmd/sharelock/internal/text"
)

// Holds prints the holds of a key, one per line.
func Holds(w io.Writer, holds []sharelock.Hold) error { return text.Table(w, holdRows(holds)) }

// Hold prints one hold, one field per line.
func Hold(w io.Writer, h sharelock.Hold) error {
	rows := [][]string{
		{"key", text.Printable(h.Key)},
		{"token", h.Token.String()},
	}
	add := func(name, value string, show bool) {
		if show {
			rows = append(rows, []string{name, value})
		}
	}
	add("client", text.Printable(h.ClientID), h.ClientID != "")
	add("principal", text.Printable(h.Principal), h.Principal != "")
	add("mode", mode(h.Mode, h.Slots), h.ClientID != "")
	add("ttl", text.Short(h.TTL), h.TTL != 0)
	add("expires in", text.Short(h.ExpiresIn), h.ExpiresIn != 0)
	add("safe for", text.Short(h.SafeFor), h.SafeFor != 0)
	add("max hold", text.Short(h.MaxHold), h.MaxHold != 0)
	add("ends in", text.Short(h.EndsIn), h.EndsIn != 0)
	add("node", text.Printable(h.Node), h.Node != "")
	add("metadata", pairs(h.Metadata), len(h.Metadata) > 0)
	return text.Table(w, rows)
}

// mode returns the mode as text, with the number of slots of a semaphore.
func mode(m sharelock.Mode, slots uint32) string {
	if slots > 1 {
		return fmt.Sprintf("%d SLOTS", slots)
	}
	return m.String()
}

// pairs returns metadata as text, sorted by name.
func pairs(m map[string]string) string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(m)) {
		out = append(out, text.Printable(name+"="+m[name]))
	}
	return text.OrDash(strings.Join(out, " "))
}
