package mesh

import (
	"flag"
	"testing"

	"github.com/sgkandale/sharelock/internal/golden"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// What members write to each other by hand: the beginning of Raft's streams. That of links is
// in package link.
func TestStreamFormatsAreStable(t *testing.T) {
	var f golden.File
	preamble, err := appendPreamble(nil, []byte("one"), "m")
	if err != nil {
		t.Fatal(err)
	}
	f.Add("raft preamble", preamble)
	f.Compare(t, "testdata/streams.golden", *update)
}
