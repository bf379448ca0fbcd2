package raftstream

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/sgkandale/sharelock/internal/memnet"
	"github.com/sgkandale/sharelock/internal/virtual"
)

const serverAddr = "server:7000"

// itself finds processes whose ids are their addresses.
func itself(id string) string { return id }

// accepting is a listener whose streams have passed Accept.
type accepting struct{ net.Listener }

func (l accepting) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	if _, err := io.ReadFull(conn, make([]byte, len(Magic))); err != nil {
		return nil, err
	}
	return Accept(conn, meant)
}

// listen is a layer on the machine "server".
func listen(t *testing.T, n *memnet.Net, self string) *Layer {
	t.Helper()
	l, err := n.Host("server").Listen(serverAddr)
	if err != nil {
		t.Fatal(err)
	}
	return New(Config{
		Listener: accepting{l}, Dial: n.Host("server").Dial, Cluster: func() []byte { return testCluster }, Address: itself, Self: self,
	})
}

func TestLayer(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		n := memnet.New(1)
		server := listen(t, n, "192.0.2.7:1")
		if got := server.Addr().String(); got != "192.0.2.7:1" {
			t.Errorf("Addr = %s, want its id", got)
		}
		nowhere, err := n.Host("client").Listen(":1")
		if err != nil {
			t.Fatal(err)
		}
		var cluster []byte
		address := itself
		client := New(Config{
			Listener: nowhere, Dial: n.Host("client").Dial, Cluster: func() []byte { return cluster },
			Address: func(id string) string { return address(id) }, Self: "client:1",
		})
		if _, err := client.Dial(serverAddr, time.Second); !errors.Is(err, errPreamble) {
			t.Errorf("Dial without a cluster: %v, want %v", err, errPreamble)
		}

		cluster = testCluster
		address = func(string) string { return "" }
		if _, err := client.Dial(serverAddr, time.Second); err == nil {
			t.Error("Dial of a voter whose address is not known has no error")
		}
		address = itself
		out, err := client.Dial(serverAddr, time.Second)
		if err != nil {
			t.Fatal(err)
		}
		in, err := server.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := out.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(in, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}

		n.Cut("client", "server")
		start := time.Now()
		if _, err := client.Dial(serverAddr, time.Second); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Second {
			t.Errorf("Dial through a cut: %v after %v", err, time.Since(start))
		}
		time.AfterFunc(time.Second, func() { _ = client.Close() })
		start = time.Now()
		if _, err := client.Dial(serverAddr, time.Hour); !errors.Is(err, context.Canceled) || time.Since(start) != time.Second {
			t.Errorf("Dial during Close: %v after %v", err, time.Since(start))
		}
		synctest.Wait() // until Close is done
		if _, err := client.Dial(raft.ServerAddress(serverAddr), time.Second); err == nil {
			t.Error("Dial after Close has no error")
		}
		if _, err := out.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
			t.Errorf("a dialled stream after Close: %v, want %v", err, net.ErrClosed)
		}
		n.Heal()
		_ = server.Close()
		if _, err := in.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("an accepted stream after Close: %v, want %v", err, net.ErrClosed)
		}
	})
}

// A stream that raft closes is not kept.
func TestLayerForgets(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		layer := listen(t, memnet.New(1), serverAddr)
		defer layer.Close() //nolint:errcheck // of a test
		for range 10 {
			out, err := layer.Dial(serverAddr, time.Second)
			if err != nil {
				t.Fatal(err)
			}
			in, err := layer.Accept()
			if err != nil {
				t.Fatal(err)
			}
			_, _ = out.Close(), in.Close()
		}
		if n := len(layer.conns); n != 0 {
			t.Errorf("%d streams are kept", n)
		}
	})
}

// Every stream ends when it is hung up, and the layer goes on.
func TestHangUp(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		layer := listen(t, memnet.New(1), serverAddr)
		defer layer.Close() //nolint:errcheck // of a test
		for range 2 {
			out, err := layer.Dial(serverAddr, time.Second)
			if err != nil {
				t.Fatal(err)
			}
			in, err := layer.Accept()
			if err != nil {
				t.Fatal(err)
			}
			layer.HangUp()
			for _, c := range []net.Conn{out, in} {
				if _, err := c.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
					t.Errorf("read after HangUp: %v", err)
				}
			}
		}
	})
}
