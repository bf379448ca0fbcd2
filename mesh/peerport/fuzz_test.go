package peerport

import (
	"bytes"
	"io"
	"net"
	"testing"
)

// FuzzFirstBytes: whatever a stranger begins with, the stream is of one protocol, which gets every byte behind
// its magic, or of none, and then the rest gets all of them; or it is refused.
func FuzzFirstBytes(f *testing.F) {
	f.Add([]byte("ONE mframes"))
	f.Add([]byte("ONE n"))
	f.Add([]byte("TWO frames"))
	f.Add([]byte("WRNG"))
	f.Add([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"))
	f.Add([]byte("\x16\x03\x01\x00\x05"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) < magicSize {
			return
		}
		p := &Port{log: quiet(), protocols: map[string]Protocol{}, parts: map[string]*listener{"": {}}}
		for _, protocol := range protocols() {
			p.protocols[protocol.Magic], p.parts[protocol.Magic] = protocol, &listener{}
		}
		near, far := net.Pipe()
		defer far.Close()
		go io.Copy(io.Discard, near) //nolint:errcheck // it ends with the pipe
		go func() {
			_, _ = near.Write(data[magicSize:])
			_ = near.Close()
		}()
		to, out, err := p.identify(far, bytes.Clone(data[:magicSize]))
		if err != nil {
			return
		}
		want, behind := p.parts[""], data
		switch string(data[:magicSize]) {
		case "ONE ":
			want, behind = p.parts["ONE "], data[magicSize+1:]
		case "TWO ":
			want, behind = p.parts["TWO "], data[magicSize:]
		case "WRNG":
			t.Fatal("an answer is handed over")
		}
		if got, _ := io.ReadAll(out); to != want || !bytes.Equal(got, behind) {
			t.Fatalf("%q: handed over %q, want %q", data, got, behind)
		}
	})
}
