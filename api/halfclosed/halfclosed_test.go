package halfclosed

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"runtime"
	"testing"

	"github.com/sgkandale/sharelock/api/remote"
)

// probed is what a handler found out about a request whose context net/http had cancelled.
type probed struct {
	listens bool
	counted bool // Before is the writer of the request
}

// serve serves requests that are probed once their callers seem gone. The handler has been entered
// when entered receives; the connection is that of the caller.
func serve(t *testing.T) (conn *net.TCPConn, entered <-chan struct{}, result <-chan probed) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	in, out := make(chan struct{}), make(chan probed, 1)
	server := &http.Server{
		ConnContext: remote.With,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if Probe(w, r) != nil {
				t.Error("a caller is probed that has not gone")
			}
			close(in)
			<-r.Context().Done()
			c := Probe(w, r)
			if c == nil {
				out <- probed{}
				return
			}
			defer c.Close()
			c.Header().Set("X-A", "b")
			c.WriteHeader(http.StatusConflict)
			_, _ = c.Write([]byte("held\n"))
			out <- probed{listens: true, counted: c.Before() == w}
		}),
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	t.Cleanup(func() {
		_ = server.Close()
		<-ended
	})
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() }) // closing twice is harmless
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	return c.(*net.TCPConn), in, out
}

func TestProbeListens(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux tells what was acknowledged")
	}
	conn, entered, result := serve(t)
	<-entered
	if err := conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got := <-result; !got.listens || !got.counted {
		t.Errorf("a caller that has closed its half only: %+v", got)
	}
	r := bufio.NewReader(conn)
	answer, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusConflict || answer.Header.Get("X-A") != "b" || string(body) != "held\n" {
		t.Errorf("it reads %s, %v, %q, %v", answer.Status, answer.Header, body, err)
	}
	if _, err := r.ReadByte(); !errors.Is(err, io.EOF) {
		t.Errorf("after the answer: %v, want the end", err)
	}
}

func TestProbeGone(t *testing.T) {
	for _, reset := range []bool{false, true} {
		conn, entered, result := serve(t)
		<-entered
		if reset {
			if err := conn.SetLinger(0); err != nil {
				t.Fatal(err)
			}
		}
		if err := conn.Close(); err != nil {
			t.Fatal(err)
		}
		if got := <-result; got.listens {
			t.Errorf("reset %t: a caller that has gone listens", reset)
		}
	}
}

func TestUnlessItWaits(t *testing.T) {
	caller, cancel := context.WithCancel(t.Context())
	ctx := UnlessItWaits(caller)
	if ListensUnder(caller) != nil || ListensUnder(ctx) != caller {
		t.Errorf("ListensUnder is %v and %v, want none and the caller's", ListensUnder(caller), ListensUnder(ctx))
	}
	cancel()
	if ctx.Err() != nil || ListensUnder(ctx).Err() == nil {
		t.Errorf("the caller has gone: %v; its own: %v", ctx.Err(), ListensUnder(ctx).Err())
	}
}
