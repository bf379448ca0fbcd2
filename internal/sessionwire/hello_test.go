package sessionwire

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/sgkandale/sharelock"
)

// Each answer to a hello is recognised.
func TestWelcome(t *testing.T) {
	var refused *sharelock.Error
	for name, test := range map[string]struct {
		answer []byte
		want   error
		text   string
	}{
		"welcome":        {answer: AppendWelcome(nil)},
		"nothing":        {want: io.EOF},
		"half":           {answer: []byte("SLS"), want: io.ErrUnexpectedEOF},
		"another":        {answer: []byte("HTTP/1.1 400"), want: ErrNoSession},
		"newer":          {answer: []byte("SLSN\x02"), want: ErrNoSession},
		"wrong port":     {answer: AppendWrongPort(nil, "this is the peer port"), want: sharelock.ErrWrongPort, text: "this is the peer port"},
		"not UTF-8":      {answer: AppendWrongPort(nil, "a\xffb"), want: sharelock.ErrWrongPort, text: "a?b"},
		"cut":            {answer: AppendWrongPort(nil, "this")[:8], want: io.ErrUnexpectedEOF},
		"long":           {answer: AppendWrongPort(nil, strings.Repeat("a", 2000)), want: sharelock.ErrWrongPort, text: strings.Repeat("a", maxRefusal)},
		"claims to much": {answer: []byte("SLSN\x00\xff\xff"), want: ErrNoSession},
	} {
		err := ReadWelcome(bytes.NewReader(test.answer))
		if !errors.Is(err, test.want) {
			t.Errorf("%s: got %v, want %v", name, err, test.want)
		}
		if test.text != "" && (!errors.As(err, &refused) || refused.Message != test.text) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
