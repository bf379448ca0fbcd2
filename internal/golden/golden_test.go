package golden_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/sgkandale/sharelock/internal/golden"
)

// failures is a T that records errors.
type failures []string

func (*failures) Helper()                          {}
func (f *failures) Errorf(format string, a ...any) { *f = append(*f, fmt.Sprintf(format, a...)) }

// Compare reports a changed byte, a missing sample and a new sample.
func TestCompare(t *testing.T) {
	path := filepath.Join(t.TempDir(), "deep", "file")
	sample := func(data ...string) *golden.File {
		f := &golden.File{}
		for i, d := range data {
			f.Add(fmt.Sprint("sample ", i), []byte(d))
		}
		return f
	}
	sample("a", "b").Compare(t, path, true)
	sample("a", "b").Compare(t, path, false)
	for _, changed := range []*golden.File{sample("a", "c"), sample("a"), sample("a", "b", "c"), sample()} {
		var f failures
		changed.Compare(&f, path, false)
		if len(f) != 1 || !strings.Contains(f[0], "raise the release") {
			t.Errorf("a change was reported as %q", f)
		}
	}
	var f failures
	sample("a").Compare(&f, path+".none", false)
	if len(f) != 1 {
		t.Errorf("a missing file was reported as %q", f)
	}
}

// Every field of a message is in its sample.
func TestAddMessages(t *testing.T) {
	f := &golden.File{}
	if err := f.AddMessages((&durationpb.Duration{}).ProtoReflect().Descriptor().ParentFile()); err != nil {
		t.Fatal(err)
	}
	want := &golden.File{}
	want.Add("google.protobuf.Duration", []byte{0x08, 0x80, 0x80, 0x80, 0x80, 0x10, 0x10, 0x02})
	path := filepath.Join(t.TempDir(), "file")
	want.Compare(t, path, true)
	f.Compare(t, path, false)
}
