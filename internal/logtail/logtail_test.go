package logtail

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestTail(t *testing.T) {
	for most := 1; most < 60; most++ {
		var out bytes.Buffer
		tail := New(&out, most)
		for i := range 40 {
			fmt.Fprintf(tail, "line %d\n", i)
			all := out.String()
			got := string(tail.Bytes())
			if !strings.HasSuffix(all, got) || len(got) > most {
				t.Fatalf("of %d bytes the last %d are %q", len(all), most, got)
			}
			if got != "" && len(got) < len(all) && all[len(all)-len(got)-1] != '\n' {
				t.Fatalf("it does not begin with a line: %q", got)
			}
			if len(all) < most && got != all {
				t.Fatalf("%q is not all of %q", got, all)
			}
		}
		if most > 20 && !strings.Contains(string(tail.Bytes()), "line 39\n") {
			t.Errorf("the last line is not in %q", tail.Bytes())
		}
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("closed") }

// The end of a log is kept even if writing it fails.
func TestBrokenLog(t *testing.T) {
	tail := New(broken{}, 100)
	if _, err := tail.Write([]byte("x\n")); err == nil {
		t.Error("the error is hidden")
	}
	if got := string(tail.Bytes()); got != "x\n" {
		t.Errorf("kept %q", got)
	}
}
