package sharelockv1

import (
	"flag"
	"testing"

	"github.com/sgkandale/sharelock/internal/golden"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// Clients that were built long ago speak to nodes of today: the messages of the API and the
// frames of a session stay what they are.
func TestMessagesAreStable(t *testing.T) {
	var f golden.File
	if err := f.AddMessages(File_sharelock_v1_lock_proto); err != nil {
		t.Fatal(err)
	}
	f.Compare(t, "testdata/messages.golden", *update)
}
