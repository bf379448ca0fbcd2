package cluster_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"testing"
	"time"

	"github.com/sgkandale/sharelock/client"
	"github.com/sgkandale/sharelock/internal/cluster"
)

// A real node serves a POST that is followed by a half-close, unless the request would have to wait.
func TestHalfClosedRequests(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux tells what was acknowledged")
	}
	// One node with a long lease: a change of the view under load would make acquires wait.
	c := cluster.Start(t, cluster.Options{
		Nodes: 1, Timing: 10 * time.Second, MaxTTL: time.Minute, Without: []cluster.Invariant{cluster.Linearizable},
	})
	ctx := limited(t)
	_, err := c.Client(0).Acquire(ctx, "held", client.TTL(c.MaxTTL()))
	must(t, err)
	for i := range 120 {
		key, body, want := fmt.Sprint("free", i), `{"clientId":"half"}`, http.StatusOK
		switch i % 4 {
		case 1:
			body = fmt.Sprintf(`{"clientId":"half","requestId":"r%d"}`, i)
		case 2:
			key, body, want = "held", `{"clientId":"half","wait":"60s"}`, 499
		case 3:
			key, body, want = "held", fmt.Sprintf(`{"clientId":"half","requestId":"r%d","wait":"60s"}`, i), 499
		}
		var d net.Dialer
		conn, err := d.DialContext(ctx, "tcp", c.Addrs(i%c.Len()).HTTP)
		must(t, err)
		_, err = fmt.Fprintf(conn, "POST /v1/locks/%s HTTP/1.1\r\nHost: n\r\nContent-Length: %d\r\n\r\n%s", key, len(body), body)
		must(t, err)
		must(t, conn.(*net.TCPConn).CloseWrite())
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		must(t, err)
		text, err := io.ReadAll(resp.Body)
		must(t, err)
		must(t, resp.Body.Close())
		must(t, conn.Close())
		if resp.StatusCode != want {
			t.Errorf("%s of %s: %s %s, want %d", body, key, resp.Status, text, want)
		}
	}
}
