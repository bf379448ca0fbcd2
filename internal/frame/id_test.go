package frame

import (
	"errors"
	"io"
	"strings"
	"testing"
)

func TestReadID(t *testing.T) {
	malformed := errors.New("malformed")
	for in, want := range map[string]struct {
		id  string
		err error
	}{
		"\x03abcd":  {"abc", nil},
		"\x04abcd":  {"abcd", nil},
		"\x00":      {"", malformed},
		"\x05abcde": {"", malformed},
		"":          {"", io.EOF},
		"\x03ab":    {"", io.ErrUnexpectedEOF},
	} {
		id, err := ReadID(strings.NewReader(in), "member", 4, malformed)
		if !errors.Is(err, want.err) || err == nil && string(id) != want.id {
			t.Errorf("%q: %q, %v, want %q, %v", in, id, err, want.id, want.err)
		}
	}
}
