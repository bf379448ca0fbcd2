package tracecontext_test

import (
	"testing"

	"github.com/sgkandale/sharelock/internal/tracecontext"
)

const example = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

func TestHeaders(t *testing.T) {
	for _, c := range []struct {
		header string
		ok     bool
	}{
		{example, true},
		{"cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what-comes", true},
		{"", false},
		{example[:54], false},
		{example + "-more", false},
		{"cc" + example[2:] + "more", false},
		{"ff" + example[2:], false},
		{"00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01", false},
		{"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0x", false},
		{"00-00000000000000000000000000000000-00f067aa0ba902b7-01", false},
		{"00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01", false},
		{"00_4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7_01", false},
	} {
		p := tracecontext.Parse(c.header)
		if (p != nil) != c.ok {
			t.Errorf("the parent in %q is %v", c.header, p)
		} else if p != nil && p.String() != example {
			t.Errorf("the parent in %q is %v", c.header, p)
		}
	}
}

func FuzzParent(f *testing.F) {
	f.Add([]byte(example))
	f.Add(tracecontext.Parse(example).Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		if p := tracecontext.Read(b); p != nil {
			if got := string(p.Append(nil)); got != string(b) {
				t.Errorf("%q is read and appended as %q", b, got)
			}
			if again := tracecontext.Parse(p.String()); again == nil || *again != *p {
				t.Errorf("%v is parsed as %v", p, again)
			}
		}
		if p := tracecontext.Parse(string(b)); p != nil {
			if again := tracecontext.Read(p.Append(nil)); again == nil || *again != *p {
				t.Errorf("%v is read as %v", p, again)
			}
		}
	})
}
