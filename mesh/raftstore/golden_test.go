package raftstore

import (
	"flag"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/sgkandale/sharelock/internal/golden"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// The bytes of an entry and of its key are what this release's files have.
func TestGolden(t *testing.T) {
	var f golden.File
	f.Add("log entry", encodeEntry(&raft.Log{
		Index: 7, Term: 3, Type: raft.LogConfiguration, Data: []byte("data"), Extensions: []byte("more"), AppendedAt: time.Unix(1, 2),
	}))
	f.Add("log entry without a time", encodeEntry(&raft.Log{Index: 7, Term: 3, Data: []byte("data")}))
	f.Add("index", encodeIndex(258))
	f.Compare(t, "testdata/store.golden", *update)
}
