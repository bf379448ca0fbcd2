package text

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
)

// Table prints rows with aligned columns; the first row is the header.
func Table(w io.Writer, rows [][]string) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		fmt.Fprintln(t, strings.Join(row, "\t"))
	}
	return t.Flush()
}

// Printable returns text from others in printable form. It quotes the text if it contains control
// sequences for a terminal or invisible characters.
func Printable(s string) string {
	for _, r := range s {
		if !unicode.IsPrint(r) || r == unicode.ReplacementChar {
			return strconv.Quote(s)
		}
	}
	return s
}

// OrNone returns a dash for an empty cell, so that columns can be counted.
func OrNone(s string) string {
	if s == "" {
		return "-"
	}
	return Printable(s)
}

// OrDash is like OrNone, for text that is printable already.
func OrDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// Short formats a duration with the precision that a reader needs. It always rounds down.
func Short(d time.Duration) string {
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

// OneLine returns an error's text without line breaks. Joined errors contain line breaks,
// and a message from the mesh may contain some.
func OneLine(err error) string {
	lines := strings.FieldsFunc(err.Error(), func(r rune) bool { return r == '\n' || r == '\r' })
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	return Printable(strings.Join(lines, "; "))
}

// Value formats a value of a YAML file, or its type if it is a list or a section, for an error that
// says that it has the wrong type.
func Value(v any) string {
	switch v := v.(type) {
	case string:
		return strconv.Quote(v)
	case []any:
		return "a list"
	case map[string]any, map[any]any:
		return "a section"
	default:
		return fmt.Sprintf("%v", v)
	}
}
