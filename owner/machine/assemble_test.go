package machine

import (
	"errors"
	"testing"
	"time"

	"github.com/sgkandale/sharelock/owner/ops"
)

// W3: a copy of a later release is told from a damaged one.
func TestUnknownCopy(t *testing.T) {
	for name, spoil := range map[string]func(copied []byte){
		"a version": func(b []byte) { b[1] = copyVersion + 1 },
		"a record":  func(b []byte) { b[len(b)-2] = recordEnd + 1 },
	} {
		copied := sampleMachine(t).Encode(3 * time.Second)
		spoil(copied)
		d := NewAssembler(sampleMachine(t).partition, 10)
		if err := d.Add(0, copied); !errors.Is(err, ops.ErrUnknown) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
