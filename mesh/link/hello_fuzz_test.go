package link

import (
	"bytes"
	"io"
	"testing"

	"github.com/sgkandale/sharelock/internal/release"
	"github.com/sgkandale/sharelock/internal/rules"
	"github.com/sgkandale/sharelock/mesh/epoch/epochtest"
)

// FuzzHello: whatever a stranger says at first, a hello has what may be in one, no byte behind it is read,
// and what it says can be said again.
func FuzzHello(f *testing.F) {
	hello, err := Hello{Releases: release.Own(), Cluster: epochtest.Cluster, To: "m", From: "n"}.Append(nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(hello[len(Magic):])
	f.Add([]byte{1})
	f.Add([]byte{helloForm, 0, 1, 0, 2, 255})
	f.Fuzz(func(t *testing.T, data []byte) {
		r := bytes.NewReader(data)
		h, err := readHello(r)
		if err != nil {
			return
		}
		if len(h.Cluster) == 0 || len(h.Cluster) > rules.MaxClusterID || h.To == "" || len(h.To) > maxMemberID || h.From == "" || len(h.From) > maxMemberID {
			t.Fatalf("read %+v", h)
		}
		read := data[:len(data)-r.Len()]
		again, err := h.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		if said := again[len(Magic) : len(again)-2]; !bytes.HasPrefix(read, said) || len(read)-len(said) > 2+maxHelloMore {
			t.Fatalf("%x was read of %x, and is said again as %x", read, data, said)
		}
		if _, err := appendHelloAnswer(nil, h.Releases, release.Own()); (err == nil) != h.Releases.Has(commonWithOwn(h.Releases)) {
			t.Fatalf("the answer to %v: %v", h.Releases, err)
		}
	})
}

// commonWithOwn is the release of a link with a program of this one, or 0.
func commonWithOwn(theirs release.Range) uint32 {
	n, ok := release.Own().Common(theirs)
	if !ok {
		return 0
	}
	return n
}

// FuzzAnswer: an answer to a hello is a release of both, or an error, and nothing more is read.
func FuzzAnswer(f *testing.F) {
	answer, err := appendHelloAnswer(nil, release.Own(), release.Own())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(answer)
	f.Add([]byte{tlsAlert, 3, 3, 0, 2, 2, 70})
	f.Fuzz(func(t *testing.T, data []byte) {
		r := bytes.NewReader(data)
		n, err := ReadAnswer(r, release.Own())
		if (err == nil) != release.Own().Has(n) {
			t.Fatalf("%x is release %d, %v", data, n, err)
		}
		if rest, _ := io.ReadAll(r); err == nil && len(data)-len(rest) != len(answer) {
			t.Fatalf("%d bytes were read, want %d", len(data)-len(rest), len(answer))
		}
	})
}
