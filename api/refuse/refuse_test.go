package refuse

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/sessionwire"
	pb "github.com/sgkandale/sharelock/proto/sharelock/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

var errElsewhere = &sharelock.Error{Err: sharelock.ErrWrongPort, Message: "this is the HTTP port, gRPC is at 2"}

// listen opens a port, and returns a function that dials it and sends the first bytes.
func listen(t *testing.T) (_ net.Listener, dial func(first string) net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() }) // closing twice is harmless
	return l, func(first string) net.Conn {
		t.Helper()
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := io.WriteString(conn, first); err != nil {
			t.Fatal(err)
		}
		return conn
	}
}

// callOver makes a call over gRPC and returns its error.
func callOver(t *testing.T, addr string) error {
	t.Helper()
	cc, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer cc.Close()
	_, err = pb.NewLockServiceClient(cc).Get(t.Context(), &pb.GetRequest{Key: "k"})
	return pb.FromError(err)
}

func isElsewhere(err error) bool {
	return errors.Is(err, sharelock.ErrWrongPort) && strings.Contains(err.Error(), errElsewhere.Message)
}

// An HTTP port serves HTTP/1.1, and tells sessions and gRPC clients where to go.
func TestAtHTTP(t *testing.T) {
	l, dial := listen(t)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "served") })}
	AtHTTP(server, errElsewhere, false)
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(Sessions(l, errElsewhere)) }()
	t.Cleanup(func() {
		_ = server.Close()
		<-ended
	})
	answer, err := http.ReadResponse(bufio.NewReader(dial("GET / HTTP/1.1\r\nHost: a\r\n\r\n")), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if body, err := io.ReadAll(answer.Body); string(body) != "served" {
		t.Errorf("HTTP/1.1: %q, %v", body, err)
	}
	if err := sessionwire.ReadWelcome(dial(string(sessionwire.AppendHello(nil)))); !isElsewhere(err) {
		t.Errorf("a session: %v", err)
	}
	if err := callOver(t, l.Addr().String()); !isElsewhere(err) {
		t.Errorf("gRPC: %v", err)
	}
}

// A gRPC server that serves nothing says so to every call.
func TestCalls(t *testing.T) {
	l, _ := listen(t)
	server := grpc.NewServer(grpc.UnknownServiceHandler(Calls(errElsewhere)))
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	t.Cleanup(func() {
		server.Stop()
		<-ended
	})
	if err := callOver(t, l.Addr().String()); !isElsewhere(err) {
		t.Errorf("gRPC: %v", err)
	}
}

// The first Read refuses clients. The bytes of any other peer are returned unchanged.
func TestClients(t *testing.T) {
	l, dial := listen(t)
	refusing := Clients(l, errElsewhere, nil)
	go func() {
		for {
			conn, err := refusing.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_, _ = io.Copy(conn, conn)
			}()
		}
	}()
	if err := sessionwire.ReadWelcome(dial(string(sessionwire.AppendHello(nil)))); !isElsewhere(err) {
		t.Errorf("a session: %v", err)
	}
	if err := callOver(t, l.Addr().String()); !isElsewhere(err) {
		t.Errorf("gRPC: %v", err)
	}
	for sent, says := range map[string]string{"GET / HTTP/1.1\r\n\r\n": errElsewhere.Message, "\x16\x03\x01": "no TLS: " + errElsewhere.Message} {
		if got, err := io.ReadAll(dial(sent)); !strings.HasPrefix(string(got), "HTTP/1.0 400 ") || !strings.Contains(string(got), says) {
			t.Errorf("%q is answered %q, %v", sent, got, err)
		}
	}
	for _, sent := range []string{"gossip of any kind", "P", sessionwire.SessionMagic[:3], http2Magic[:2] + "x"} {
		conn := dial(sent)
		_ = conn.(*net.TCPConn).CloseWrite()
		if got, err := io.ReadAll(conn); string(got) != sent || err != nil {
			t.Errorf("%q was read as %q, %v", sent, got, err)
		}
	}
}

// A client with TLS at a port without it gets an error of its TLS library. A stream without TLS is
// recognised by its first byte.
func TestTLS(t *testing.T) {
	near, far := net.Pipe()
	defer near.Close()
	go func() {
		TLS(far)
		_ = far.Close()
	}()
	if got, err := io.ReadAll(near); err != nil || !strings.Contains(string(got), "no TLS") {
		t.Errorf("%q, %v", got, err)
	}
	if BeginsTLS([]byte("GET ")) || !BeginsTLS([]byte{0x16, 3, 1}) {
		t.Error("TLS is not told from HTTP by its first byte")
	}
}
