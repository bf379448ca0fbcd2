package link

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/sgkandale/sharelock/internal/release"
	"github.com/sgkandale/sharelock/mesh/epoch/epochtest"
)

// W1: two programs of different releases agree on the highest that both know; only if there
// is none is the link refused, and both sides know why.
func TestHelloNegotiates(t *testing.T) {
	for _, c := range []struct {
		dialer, listener release.Range
		want             uint32 // 0 is a refusal
	}{
		{release.Range{Oldest: 1, Newest: 1}, release.Range{Oldest: 1, Newest: 1}, 1},
		{release.Range{Oldest: 1, Newest: 2}, release.Range{Oldest: 1, Newest: 1}, 1},
		{release.Range{Oldest: 1, Newest: 1}, release.Range{Oldest: 1, Newest: 2}, 1},
		{release.Range{Oldest: 2, Newest: 300}, release.Range{Oldest: 1, Newest: 299}, 299},
		{release.Range{Oldest: 2, Newest: 3}, release.Range{Oldest: 1, Newest: 1}, 0},
		{release.Range{Oldest: 1, Newest: 1}, release.Range{Oldest: 2, Newest: 3}, 0},
	} {
		hello, err := Hello{Releases: c.dialer, Cluster: epochtest.Cluster, To: "m", From: "n"}.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		r := bytes.NewReader(append(hello[len(Magic):], "frames"...))
		h, err := readHello(r)
		if err != nil || h.Releases != c.dialer || h.To != "m" || h.From != "n" {
			t.Fatalf("the hello reads %+v, %v", h, err)
		}
		if rest, _ := io.ReadAll(r); string(rest) != "frames" {
			t.Errorf("%q is left behind the hello", rest)
		}
		answer, refused := appendHelloAnswer(nil, h.Releases, c.listener)
		got, err := ReadAnswer(bytes.NewReader(answer), c.dialer)
		if got != c.want || (refused != nil) != (c.want == 0) || (err != nil) != (c.want == 0) {
			t.Errorf("%v dials %v: release %d, %v; the listener says %v", c.dialer, c.listener, got, err, refused)
		}
		if c.want == 0 && (!errors.Is(err, release.ErrMismatch) || !errors.Is(refused, release.ErrMismatch)) {
			t.Errorf("%v dials %v: %v; the listener says %v", c.dialer, c.listener, err, refused)
		}
	}
}

// A later release may say more in its hello.
func TestHelloSaysMore(t *testing.T) {
	hello, err := Hello{Releases: release.Own(), Cluster: epochtest.Cluster, To: "m", From: "n"}.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	hello = append(hello[:len(hello)-2], 0, 3, 'x', 'y', 'z')
	r := bytes.NewReader(append(hello[len(Magic):], "frames"...))
	if h, err := readHello(r); err != nil || h.From != "n" {
		t.Errorf("the hello reads %+v, %v", h, err)
	}
	if rest, _ := io.ReadAll(r); string(rest) != "frames" {
		t.Errorf("%q is left behind the hello", rest)
	}
	hello[len(hello)-5] = 0xff
	if _, err := readHello(bytes.NewReader(hello[len(Magic):])); !errors.Is(err, errHello) {
		t.Errorf("a hello of 64 KiB: %v", err)
	}
}

// A program from before release 1 closes the stream, or says hello in its own form.
func TestHelloOfAnOldBuild(t *testing.T) {
	if _, err := readHello(bytes.NewReader([]byte{1, 1, 'x'})); !errors.Is(err, release.ErrMismatch) {
		t.Errorf("its hello: %v", err)
	}
	if _, err := ReadAnswer(bytes.NewReader(nil), release.Own()); !errors.Is(err, io.EOF) {
		t.Errorf("no answer: %v", err)
	}
}
