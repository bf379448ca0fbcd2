package netconn

import (
	"crypto/tls"
	"net"
	"testing"
)

// layer is a connection around another one.
type layer struct{ net.Conn }

func (l layer) NetConn() net.Conn { return l.Conn }

// secure is a layer with TLS.
type secure struct {
	layer
	name string
}

func (s secure) ConnectionState() tls.ConnectionState { return tls.ConnectionState{ServerName: s.name} }

func TestTCP(t *testing.T) {
	tcp := &net.TCPConn{}
	pipe, far := net.Pipe()
	defer pipe.Close()
	defer far.Close()
	for _, tt := range []struct {
		name string
		conn net.Conn
		want *net.TCPConn
	}{
		{"itself", tcp, tcp},
		{"two layers", layer{layer{tcp}}, tcp},
		{"below TLS", layer{secure{layer{tcp}, "a"}}, tcp},
		{"no TCP", pipe, nil},
		{"a layer on no TCP", layer{pipe}, nil},
		{"none", nil, nil},
	} {
		if got := TCP(tt.conn); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestTLS(t *testing.T) {
	tcp := &net.TCPConn{}
	for _, tt := range []struct {
		name string
		conn net.Conn
		want string // "" for no TLS
	}{
		{"itself", secure{layer{tcp}, "a"}, "a"},
		{"two layers", layer{layer{secure{layer{tcp}, "a"}}}, "a"},
		{"the outer of two", secure{layer{secure{layer{tcp}, "a"}}, "b"}, "b"},
		{"plain", layer{tcp}, ""},
		{"none", nil, ""},
	} {
		state, ok := TLS(tt.conn)
		if ok != (tt.want != "") || state.ServerName != tt.want {
			t.Errorf("%s: TLS %t of %q, want %q", tt.name, ok, state.ServerName, tt.want)
		}
	}
}
