package text

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"orders/42":     "orders/42",
		"größe 1":       "größe 1",
		"a\tb":          `"a\tb"`,
		"\x1b[2Jgone":   `"\x1b[2Jgone"`,
		"\xff":          `"\xff"`,
		"rtl\u202e":     `"rtl\u202e"`,
		"line\nbreak":   `"line\nbreak"`,
		"":              "",
		"non\u00a0brk":  `"non\u00a0brk"`,
		`quote " alone`: `quote " alone`,
	} {
		if got := Printable(in); got != want {
			t.Errorf("Printable(%q): got %s, want %s", in, got, want)
		}
	}
}

// Short rounds down, and omits trailing parts that are zero.
func TestShort(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0:                            "0s",
		999 * time.Microsecond:       "0s",
		1999 * time.Microsecond:      "1ms",
		1990 * time.Millisecond:      "1.9s",
		90 * time.Second:             "1m30s",
		2 * time.Minute:              "2m",
		3 * time.Hour:                "3h",
		3*time.Hour + 20*time.Second: "3h0m20s",
	} {
		if got := Short(d); got != want {
			t.Errorf("Short(%v): got %s, want %s", d, got, want)
		}
	}
}

func TestOneLine(t *testing.T) {
	err := errors.Join(errors.New("first"), errors.New("  second\r\nthird"))
	if got, want := OneLine(err), "first; second; third"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestTable(t *testing.T) {
	var out strings.Builder
	if err := Table(&out, [][]string{{"KEY", "OWNER"}, {"orders/42", OrNone("")}, {"k", OrNone("a\tb")}, {"l", OrDash("a b")}}); err != nil {
		t.Fatal(err)
	}
	want := "KEY        OWNER\norders/42  -\nk          \"a\\tb\"\nl          a b\n"
	if out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}
