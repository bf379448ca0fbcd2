package view

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// deafLayer is a raft.StreamLayer on which nobody is reached.
type deafLayer struct{ closed chan struct{} }

var errDeaf = errors.New("nobody is reached")

func (l deafLayer) Accept() (net.Conn, error) {
	<-l.closed
	return nil, net.ErrClosed
}

func (l deafLayer) Dial(raft.ServerAddress, time.Duration) (net.Conn, error) { return nil, errDeaf }

func (l deafLayer) Close() error {
	close(l.closed)
	return nil
}

func (l deafLayer) Addr() net.Addr { return &net.TCPAddr{} }

// Raft's pipeline can stop for ever, so it is not used: see Start.
func TestNothingIsPipelined(t *testing.T) {
	r, err := Start(Config{
		ID: "a", Lease: lease, Layer: deafLayer{make(chan struct{})},
		Log: slog.New(slog.DiscardHandler), RaftLog: hclog.New(&hclog.LoggerOptions{Output: io.Discard}),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}()
	if _, err := r.transport.AppendEntriesPipeline("b", "b"); !errors.Is(err, raft.ErrPipelineReplicationNotSupported) {
		t.Errorf("a pipeline to b: %v, want none", err)
	}
}
