package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
)

// table prints rows with aligned columns; the first row is the header.
func table(w io.Writer, rows [][]string) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		fmt.Fprintln(t, strings.Join(row, "\t"))
	}
	return t.Flush()
}

// printable returns text that others have chosen in printable form. It quotes the text if that
// contains control sequences for a terminal or invisible characters.
func printable(s string) string {
	for _, r := range s {
		if !unicode.IsPrint(r) || r == unicode.ReplacementChar {
			return strconv.Quote(s)
		}
	}
	return s
}

// orNone returns a dash for an empty cell, so that columns can be counted.
func orNone(s string) string {
	if s == "" {
		return "-"
	}
	return printable(s)
}

// orDash is like orNone, for text that is printable already.
func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// short formats a duration with the precision that a reader needs. It always rounds down.
func short(d time.Duration) string {
	if d >= time.Second {
		d = d.Truncate(100 * time.Millisecond)
	} else {
		d = d.Truncate(time.Millisecond)
	}
	s := d.String()
	// 1h0m0s is shortened to 1h.
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
