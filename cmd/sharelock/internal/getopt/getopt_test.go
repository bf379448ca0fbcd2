package getopt

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// Each call is written as a shell would split it. got lists what the options were set to, in order.
func TestParse(t *testing.T) {
	for _, test := range []struct {
		args, got, rest, err string
	}{
		{args: "", got: ""},
		{args: "k cmd -n", rest: "k cmd -n"},
		{args: "-n k", got: "n", rest: "k"},
		{args: "-nw1 k", got: "n w=1", rest: "k"},
		{args: "-w 1 k", got: "w=1", rest: "k"},
		{args: "--wait=1 --wait 2 k", got: "w=1 w=2", rest: "k"},
		{args: "--wait= k", got: "w=", rest: "k"},
		{args: "--ti 3 k", got: "w=3", rest: "k"},
		{args: "--nonb -- -n", got: "n", rest: "-n"},
		{args: "- k", rest: "- k"},
		{args: "--no", err: "option '--no' is ambiguous"},
		{args: "--no-fork", got: "F"},
		{args: "-w", err: "option requires an argument -- 'w'"},
		{args: "--wait", err: "option '--wait' requires an argument"},
		{args: "--no-fork=x", err: "option '--no-fork' doesn't allow an argument"},
		{args: "-nz", got: "n", err: "invalid option -- 'z'"},
		{args: "--nonsense", err: "unrecognized option '--nonsense'"},
		{args: "-w bad k", got: "w=bad", err: "bad value"},
	} {
		t.Run(test.args, func(t *testing.T) {
			var got []string
			flag := func(name string) func(string) error {
				return func(string) error { got = append(got, name); return nil }
			}
			rest, err := Parse([]Option{
				{Letter: 'n', Names: []string{"nonblocking", "nb"}, Set: flag("n")},
				{Letter: 'F', Names: []string{"no-fork"}, Set: flag("F")},
				{Letter: 'w', Names: []string{"timeout", "wait"}, Value: true, Set: func(v string) error {
					got = append(got, "w="+v)
					if v == "bad" {
						return fmt.Errorf("%s value", v)
					}
					return nil
				}},
			}, strings.Fields(test.args))
			text := ""
			if err != nil {
				text = err.Error()
			}
			if text != test.err || strings.Join(got, " ") != test.got || !slices.Equal(rest, strings.Fields(test.rest)) && test.rest != "" {
				t.Errorf("got %q, %q, error %q; want %q, %q, error %q", got, rest, text, test.got, test.rest, test.err)
			}
		})
	}
}
