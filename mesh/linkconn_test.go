package mesh

import (
	"bytes"
	"errors"
	"io"
	"net"
	"testing"
	"time"
)

// framePair is both ends of a stream.
func framePair(t *testing.T) (a, b *frameConn) {
	t.Helper()
	near, far := net.Pipe()
	t.Cleanup(func() { _, _ = near.Close(), far.Close() })
	return newFrameConn(near, time.Minute), newFrameConn(far, time.Minute)
}

// Frames of all sizes arrive whole, in order, and apart.
func TestFramesArrive(t *testing.T) {
	a, b := framePair(t)
	sizes := []int{0, 1, 127, 4096, frameBuffer, frameBuffer + 1, 4*frameBuffer + 1, 9*frameBuffer - 5, maxPeerMessage, 3}
	sent := make(chan error, 1)
	go func() {
		for i, n := range sizes {
			if err := a.Send(bytes.Repeat([]byte{byte(i)}, n)); err != nil {
				sent <- err
				return
			}
		}
		sent <- a.Close()
	}()
	for i, n := range sizes {
		got, err := b.Recv()
		if err != nil || !bytes.Equal(got, bytes.Repeat([]byte{byte(i)}, n)) {
			t.Fatalf("frame %d has %d bytes (%v), want %d of %d", i, len(got), err, n, i)
		}
	}
	if _, err := b.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("after the last frame: %v", err)
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
}

// A frame that is cut off, or says that it is larger than any, is an error.
func TestFramesRefused(t *testing.T) {
	for _, tt := range []struct {
		name, bytes string
		want        error
	}{
		{"half a length", "\x00\x00", io.ErrUnexpectedEOF},
		{"half a frame", "\x00\x00\x00\x05ab", io.ErrUnexpectedEOF},
		{"too large", "\x01\x00\x00\x01", errFrame},
	} {
		t.Run(tt.name, func(t *testing.T) {
			near, far := net.Pipe()
			go func() {
				_, _ = near.Write([]byte(tt.bytes)) // the reader may have heard enough
				_ = near.Close()
			}()
			if got, err := newFrameConn(far, time.Minute).Recv(); !errors.Is(err, tt.want) {
				t.Errorf("received %q, %v, want %v", got, err, tt.want)
			}
		})
	}
}
