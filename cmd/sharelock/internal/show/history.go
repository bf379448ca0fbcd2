package show

import (
	"fmt"
	"io"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/cmd/sharelock/internal/text"
)

// History prints who held a key, and warnings about gaps.
func History(w, warnings io.Writer, h sharelock.History) error {
	if !h.Complete {
		fmt.Fprintln(warnings, "sharelock: the history has gaps in this time; there may have been others")
	}
	if len(h.Entries) == 0 {
		fmt.Fprintln(warnings, "sharelock: nobody is known to have held the key then")
		return nil
	}
	rows := [][]string{{"CLIENT", "MODE", "ACQUIRED", "HELD", "WAITED", "ENDED", "TOKEN"}}
	for i := range h.Entries {
		rows = append(rows, historyRow(&h.Entries[i]))
	}
	return text.Table(w, rows)
}

// historyRow returns a hold as a row for people.
func historyRow(e *sharelock.PastHold) []string {
	who, acquired, held, waited, ended := "?", "?", "?", "?", "held"
	if e.ClientID != "" {
		who = text.Printable(e.ClientID)
	}
	if e.Principal != "" {
		who = text.Printable(e.Principal) + " " + who
	}
	if !e.Acquired.IsZero() {
		acquired = e.Acquired.Local().Format("2006-01-02 15:04:05.000")
	}
	if e.WaitKnown {
		waited = text.Short(e.Waited)
	}
	if e.End != sharelock.EndNone {
		ended = map[sharelock.HoldEnd]string{
			sharelock.EndReleased: "released", sharelock.EndExpired: "expired", sharelock.EndForced: "forced", sharelock.EndLost: "lost",
		}[e.End]
		if e.By != "" {
			ended += " by " + text.Printable(e.By)
		}
		if !e.Acquired.IsZero() {
			held = text.Short(e.Ended.Sub(e.Acquired))
		}
	}
	return []string{who, mode(e.Mode, 0), acquired, held, waited, ended, e.Token.String()}
}
