package raftstream

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"net"
	"testing"

	"github.com/sgkandale/sharelock/internal/golden"
	"github.com/sgkandale/sharelock/internal/release"
)

var testCluster = []byte("the cluster")

var update = flag.Bool("update", false, "rewrite the golden files")

// What voters write to each other first.
func TestPreambleIsStable(t *testing.T) {
	var f golden.File
	preamble, err := appendPreamble(nil, []byte("one"), "m")
	if err != nil {
		t.Fatal(err)
	}
	f.Add("raft preamble", preamble)
	f.Compare(t, "testdata/preamble.golden", *update)
}

// bytesConn is a stream that has been received to its end.
type bytesConn struct {
	net.Conn
	*bytes.Reader
}

func (c bytesConn) Read(b []byte) (int, error) { return c.Reader.Read(b) }

// meant is of testCluster and not for another process.
func meant(cluster []byte, voter string) bool {
	return bytes.Equal(cluster, testCluster) && voter != "other"
}

func TestAccept(t *testing.T) {
	good, _ := appendPreamble(nil, testCluster, "v")
	foreign, _ := appendPreamble(nil, []byte("another cluster"), "v")
	other, _ := appendPreamble(nil, testCluster, "other")
	for name, test := range map[string]struct {
		said string
		want error
	}{
		"meant for this process": {string(good) + "vote", nil},
		"another cluster":        {string(foreign), errForeign},
		"another process":        {string(other), errForeign},
		"no voter":               {Magic + "\x02\x01x\x00", errPreamble},
		"before release 1":       {Magic + "\x01\x01x", release.ErrMismatch},
		"unknown version":        {Magic + "\x03\x01x", errPreamble},
		"no cluster":             {Magic + "\x02\x00", errPreamble},
		"cluster id too long":    {Magic + "\x02\xff", errPreamble},
		"half a preamble":        {string(good[:len(good)-1]), io.EOF},
	} {
		conn, err := Accept(bytesConn{Reader: bytes.NewReader([]byte(test.said[len(Magic):]))}, meant)
		if !errors.Is(err, test.want) || (conn == nil) != (err != nil) {
			t.Errorf("%s: %v, %v, want %v", name, conn, err, test.want)
		}
		if err == nil {
			if rest, _ := io.ReadAll(conn); string(rest) != "vote" {
				t.Errorf("%s: what follows is %q", name, rest)
			}
		}
	}
}

func FuzzPreamble(f *testing.F) {
	good, _ := appendPreamble(nil, testCluster, "v")
	f.Add(good[len(Magic):])
	f.Add(append(good, "more"...)[len(Magic):])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bytes.NewReader(b)
		id, voter, err := readPreamble(r)
		if err != nil {
			return
		}
		again, err := appendPreamble(nil, id, voter)
		if err != nil {
			t.Fatalf("id %x of %x: %v", id, b, err)
		}
		if used := len(b) - r.Len(); !bytes.Equal(again[len(Magic):], b[:used]) {
			t.Errorf("%x is read as %x, which is written as %x", b[:used], id, again)
		}
	})
}
