package show

import (
	"fmt"
	"io"
	"slices"
	"strconv"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/cmd/sharelock/internal/text"
)

// Key prints who holds a key, and who waits for it.
func Key(w io.Writer, l sharelock.KeyState) error {
	rows := [][]string{
		{"key", text.Printable(l.Key)},
		{"partition", strconv.FormatUint(uint64(l.Partition), 10)},
		{"owner", text.OrNone(l.Owner)},
		{"epoch", strconv.FormatUint(uint64(l.Epoch), 10)},
	}
	if l.Quarantine > 0 {
		rows = append(rows, []string{"quarantine", text.Short(l.Quarantine)})
	}
	if err := text.Table(w, rows); err != nil {
		return err
	}
	if len(l.Holds) > 0 {
		fmt.Fprintln(w, "\nheld by")
		if err := text.Table(w, holdRows(l.Holds)); err != nil {
			return err
		}
		printMore(w, l.HoldCount-len(l.Holds))
	}
	if len(l.Waiters) > 0 {
		fmt.Fprintln(w, "\nwaiting")
		if err := text.Table(w, waiterRows(l.Waiters)); err != nil {
			return err
		}
		printMore(w, l.WaiterCount-len(l.Waiters))
	}
	return nil
}

// printMore prints how many entries the answer does not list.
func printMore(w io.Writer, n int) {
	if n > 0 {
		fmt.Fprintf(w, "and %d more\n", n)
	}
}

// Keys prints keys, one per line.
func Keys(w io.Writer, locks []sharelock.KeyState) error { return text.Table(w, lockRows(locks)) }

func lockRows(locks []sharelock.KeyState) [][]string {
	rows := [][]string{{"KEY", "HOLDER", "TOKEN", "MODE", "EXPIRES IN", "WAITING", "OWNER"}}
	principals := make([]string, 0, len(locks))
	for _, l := range locks {
		row := []string{text.Printable(l.Key), "-", "-", "-", "-", strconv.Itoa(max(l.WaiterCount, len(l.Waiters))), text.OrNone(l.Owner)}
		principal := ""
		if len(l.Holds) > 0 {
			h := l.Holds[0]
			principal = h.Principal
			row[1], row[2], row[3], row[4] = text.OrNone(h.ClientID), h.Token.String(), mode(h.Mode, h.Slots), text.Short(h.ExpiresIn)
			if more := max(l.HoldCount, len(l.Holds)) - 1; more > 0 {
				row[1] += fmt.Sprintf(" and %d more", more)
			}
		}
		rows, principals = append(rows, row), append(principals, principal)
	}
	return withPrincipals(rows, 2, principals)
}

// holdRows returns the rows of holds, with a column for principals if there are any.
func holdRows(holds []sharelock.Hold) [][]string {
	rows := [][]string{{"TOKEN", "CLIENT", "MODE", "TTL", "EXPIRES IN", "METADATA"}}
	principals := make([]string, 0, len(holds))
	for _, h := range holds {
		rows = append(rows, []string{
			h.Token.String(), text.OrNone(h.ClientID), mode(h.Mode, h.Slots), text.Short(h.TTL), text.Short(h.ExpiresIn), pairs(h.Metadata),
		})
		principals = append(principals, h.Principal)
	}
	return withPrincipals(rows, 2, principals)
}

// withPrincipals inserts a column at an index into the rows below a head, unless no principal has a name.
func withPrincipals(rows [][]string, at int, principals []string) [][]string {
	if !slices.ContainsFunc(principals, func(name string) bool { return name != "" }) {
		return rows
	}
	rows[0] = slices.Insert(rows[0], at, "PRINCIPAL")
	for i, name := range principals {
		rows[i+1] = slices.Insert(rows[i+1], at, text.OrNone(name))
	}
	return rows
}

// waiterRows returns the rows of waiters, with a column for principals if there are any.
func waiterRows(waiters []sharelock.Waiter) [][]string {
	rows := [][]string{{"PLACE", "CLIENT", "MODE", "WAITING", "METADATA"}}
	principals := make([]string, 0, len(waiters))
	for i, w := range waiters {
		rows = append(rows, []string{
			strconv.Itoa(i + 1), text.OrNone(w.ClientID), mode(w.Mode, w.Slots), text.Short(w.Waiting), pairs(w.Metadata),
		})
		principals = append(principals, w.Principal)
	}
	return withPrincipals(rows, 2, principals)
}
