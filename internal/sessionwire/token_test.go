package sessionwire

import (
	"bytes"
	"testing"

	sharelockv1 "github.com/sgkandale/sharelock/proto/sharelock/v1"
	"google.golang.org/protobuf/proto"
)

func TestToken(t *testing.T) {
	want, err := proto.Marshal(&sharelockv1.SessionRequest{Ping: true, Token: "slk_a_b"})
	if err != nil {
		t.Fatal(err)
	}
	got := AppendToken(AppendPing(nil), "slk_a_b")
	if !bytes.Equal(got, want) {
		t.Errorf("by hand %x, generated %x", got, want)
	}
	for _, tt := range []struct {
		data []byte
		want string
	}{
		{nil, ""},
		{got, "slk_a_b"},
		{AppendToken(got, "next"), "next"}, // as protobuf merges
		{AppendToken(got, ""), "slk_a_b"},
		{AppendCall(AppendToken(nil, "first"), &Call{ID: 1, Kind: CallCancel}), "first"},
		{AppendCall(nil, &Call{ID: 1, Kind: CallRelease, Token: 7}), ""},
	} {
		if token, err := ReadToken(tt.data); string(token) != tt.want || err != nil {
			t.Errorf("token of %x: %q, %v, want %q", tt.data, token, err, tt.want)
		}
	}
	if _, err := ReadToken(got[:len(got)-1]); err == nil {
		t.Error("a message that is cut off is valid")
	}
}

// Readers of calls, and of requests other than calls, skip a credential.
func TestTokenIsSkipped(t *testing.T) {
	data := AppendKeep(AppendCall(AppendToken(nil, "x"), &Call{ID: 1, Kind: CallCancel}), &Keep{Kind: KeepAlive, ID: 9})
	if calls := readCalls(t, data); len(calls) != 1 || calls[0].ID != 1 {
		t.Errorf("the calls are %+v", calls)
	}
	var (
		r KeepReader
		k Keep
	)
	r.Reset(data)
	if more, err := r.Next(&k); !more || err != nil || k.ID != 9 {
		t.Errorf("%v, %v, %+v", more, err, k)
	}
}
