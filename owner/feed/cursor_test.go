package feed

import "testing"

func FuzzParseCursor(f *testing.F) {
	for _, s := range []string{"", ".", "5.9", "59712345.18446744073709551615", "4294967296.1", "-1.2", "1.2.3", "1. 2"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c, ok := ParseCursor(s)
		if again, same := ParseCursor(c.String()); ok && (!same || again != c) {
			t.Errorf("%q is %v, which is %v", s, c, again)
		}
	})
}
