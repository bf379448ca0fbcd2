package refuse

import (
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/sessionwire"
	pb "github.com/sgkandale/sharelock/proto/sharelock/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

var errNeedsTLS = &sharelock.Error{Err: sharelock.ErrWrongPort, Message: "port 1 needs TLS" + strings.Repeat("!", 200)}

// plainRefuser is a port that refuses streams without TLS.
func plainRefuser(t *testing.T) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
				Plain(conn, errNeedsTLS)
				_ = conn.Close()
			}()
		}
	}()
	return l.Addr().String()
}

// Each client is refused in its own protocol, with the same text.
func TestPlain(t *testing.T) {
	addr := plainRefuser(t)
	dial := func(first string) net.Conn {
		t.Helper()
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		if _, err := conn.Write([]byte(first)); err != nil {
			t.Fatal(err)
		}
		return conn
	}
	if err := sessionwire.ReadWelcome(dial(string(sessionwire.AppendHello(nil)))); !errors.Is(err, sharelock.ErrWrongPort) || !strings.Contains(err.Error(), errNeedsTLS.Message) {
		t.Errorf("a session: %v", err)
	}
	// The request is longer than what the port reads of it.
	got, err := io.ReadAll(dial("POST /v1/locks/k HTTP/1.1\r\nHost: x\r\nContent-Length: 20000\r\n\r\n" + strings.Repeat("x", 20000)))
	if err != nil || !strings.HasPrefix(string(got), "HTTP/1.0 400 Bad Request\r\n") || !strings.HasSuffix(string(got), errNeedsTLS.Message+"\n") {
		t.Errorf("HTTP: %q, %v", got, err)
	}
	cc, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer cc.Close()
	_, err = pb.NewLockServiceClient(cc).Get(t.Context(), &pb.GetRequest{Key: "k"})
	if got := pb.FromError(err); !errors.Is(got, sharelock.ErrWrongPort) || !strings.Contains(got.Error(), errNeedsTLS.Message) {
		t.Errorf("gRPC: %v", got)
	}
}

// For any input, the answer ends.
func FuzzPlain(f *testing.F) {
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Add(sessionwire.AppendHello(nil))
	f.Add([]byte(http2Preface + "\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\x01\x01\x05\x00\x00\x00\x01\x82"))
	f.Add([]byte(http2Preface + "\xff\xff\xff\x04\x00\x00\x00\x00\x00"))
	f.Fuzz(func(_ *testing.T, data []byte) {
		near, far := net.Pipe()
		done := make(chan struct{})
		go func() {
			defer close(done)
			Plain(far, errNeedsTLS)
			_ = far.Close()
		}()
		go io.Copy(io.Discard, near) //nolint:errcheck // it ends with the pipe
		_ = near.SetWriteDeadline(time.Now().Add(5 * time.Second))
		_, _ = near.Write(data) // the port may have closed it already
		_ = near.Close()
		<-done
	})
}
