package sessionwire

import (
	"bytes"
	"errors"
	"testing"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	"github.com/sgkandale/sharelock"
	sharelockv1 "github.com/sgkandale/sharelock/proto/sharelock/v1"
)

// FuzzHello: only a hello of this version is accepted, and no byte behind it is read.
func FuzzHello(f *testing.F) {
	f.Add(AppendHello(nil)[len(SessionMagic):])
	f.Add([]byte("\x02"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := bytes.NewReader(data)
		good := len(data) >= helloLen-len(SessionMagic) && data[0] == sessionVersion
		if err := ReadHello(r); (err == nil) != good {
			t.Fatalf("%x: %v", data, err)
		}
		if read := len(data) - r.Len(); read > helloLen-len(SessionMagic) {
			t.Fatalf("%d bytes were read", read)
		}
	})
}

// FuzzWelcome: only the answer of a node is accepted. The text of another port's answer is bounded and
// printable.
func FuzzWelcome(f *testing.F) {
	f.Add(AppendWelcome(nil))
	f.Add(AppendWrongPort(nil, "this is the peer port"))
	f.Add([]byte(SessionMagic + "\x00\xff\xff"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := bytes.NewReader(data)
		err := ReadWelcome(r)
		if (err == nil) != bytes.HasPrefix(data, AppendWelcome(nil)) {
			t.Fatalf("%x: %v", data, err)
		}
		wrong := (*sharelock.Error)(nil)
		if errors.As(err, &wrong) && (!utf8.ValidString(wrong.Message) || len(wrong.Message) > 3*maxRefusal) {
			t.Fatalf("%x: a message of %d bytes", data, len(wrong.Message))
		}
		if read := len(data) - r.Len(); read > welcomeLen+2+maxRefusal {
			t.Fatalf("%d bytes were read", read)
		}
	})
}

// FuzzToken: the token of a message is the one that generated code reads.
func FuzzToken(f *testing.F) {
	f.Add(AppendToken(nil, "secret"))
	f.Add(AppendToken(AppendToken([]byte{0x08, 0x01}, "old"), "new"))
	f.Fuzz(func(t *testing.T, data []byte) {
		token, err := ReadToken(data)
		var m sharelockv1.SessionRequest
		if proto.Unmarshal(data, &m) != nil {
			return
		}
		if err != nil {
			t.Fatalf("%x is not understood: %v", data, err)
		}
		if got := m.GetToken(); got != "" && got != string(token) {
			t.Fatalf("%x has the token %q, want %q", data, token, got)
		}
	})
}
