package link

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/sgkandale/sharelock/internal/release"
)

var testCluster = []byte("the cluster")

// A stream for another process, of another cluster, or without a hello that is understood is
// refused. One of a program without a common release is told so.
func TestAccept(t *testing.T) {
	newer := release.Range{Oldest: release.Current + 1, Newest: release.Current + 1}
	say := func(h Hello) string {
		b, err := h.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	good := Hello{Releases: release.Own(), Cluster: testCluster, To: "m", From: "n"}
	for name, test := range map[string]struct {
		said string
		want error
	}{
		"meant":       {say(good), nil},
		"cluster":     {say(Hello{Releases: release.Own(), Cluster: []byte("another cluster"), To: "m", From: "n"}), errForeign},
		"process":     {say(Hello{Releases: release.Own(), Cluster: testCluster, To: "other", From: "n"}), errForeign},
		"releases":    {say(Hello{Releases: newer, Cluster: testCluster, To: "m", From: "n"}), release.ErrMismatch},
		"an old link": {Magic + "\x01\x01x", release.ErrMismatch},
		"form":        {Magic + "\x03\x01x", errHello},
		"from nobody": {Magic + "\x02\x00\x01\x00\x01\x01x\x01m\x00", errHello},
		"half":        {say(good)[:len(say(good))-1], io.ErrUnexpectedEOF},
	} {
		ours, theirs := net.Pipe()
		answer := make(chan error, 1)
		go func() {
			_ = theirs.SetDeadline(time.Now().Add(10 * time.Second))
			_, _ = theirs.Write([]byte(test.said[len(Magic):]))
			if test.want == io.ErrUnexpectedEOF {
				_ = theirs.Close()
			}
			_, err := ReadAnswer(theirs, newer)
			answer <- err
		}()
		conn, err := Accept(ours, release.Own(), func(cluster []byte, to string) bool {
			return bytes.Equal(cluster, testCluster) && to != "other"
		})
		if !errors.Is(err, test.want) || (conn == nil) != (err != nil) {
			t.Errorf("%s: %v, %v, want %v", name, conn, err, test.want)
		}
		if err == nil && conn.From() != "n" {
			t.Errorf("%s: the link is from %q, want n", name, conn.From())
		}
		_ = ours.Close()
		if err := <-answer; name == "releases" && (!errors.Is(err, release.ErrMismatch) || !strings.Contains(err.Error(), release.Own().String())) {
			t.Errorf("%s: the answer: %v", name, err)
		}
	}
}
