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

// table prints rows with aligned columns; the first row is the head.
func table(w io.Writer, rows [][]string) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		fmt.Fprintln(t, strings.Join(row, "\t"))
	}
	return t.Flush()
}

// printable shows text that others have chosen: quoted if it holds anything that
// a terminal might take for a command, or that is hard to see.
func printable(s string) string {
	for _, r := range s {
		if !unicode.IsPrint(r) || r == unicode.ReplacementChar {
			return strconv.Quote(s)
		}
	}
	return s
}

// orNone shows an empty cell as a dash, so that columns can be counted.
func orNone(s string) string {
	if s == "" {
		return "-"
	}
	return printable(s)
}

// orDash is orNone for text that is printable already.
func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// short is a duration as precise as people need it, and never more than there is.
func short(d time.Duration) string {
	if d >= time.Second {
		d = d.Truncate(100 * time.Millisecond)
	} else {
		d = d.Truncate(time.Millisecond)
	}
	s := d.String()
	// 1h0m0s says no more than 1h.
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
