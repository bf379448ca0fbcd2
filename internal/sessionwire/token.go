package sessionwire

import (
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/sgkandale/sharelock/internal/protofield"
)

// tokenField is the number of the caller's credential in a [SessionRequest].
const tokenField = 8

// AppendToken appends the caller's credential to a [SessionRequest].
func AppendToken(b []byte, token string) []byte { return protofield.AppendString(b, tokenField, token) }

// ReadToken returns the caller's credential in a [SessionRequest], or nil if there is none. It refers
// to data. It returns an error if data is not a valid message.
func ReadToken(data []byte) (token []byte, err error) {
	for len(data) > 0 {
		f, err := protofield.Next(&data)
		if err != nil {
			return nil, err
		}
		if f.Num == tokenField && f.Typ == protowire.BytesType && len(f.B) > 0 {
			token = f.B
		}
	}
	return token, nil
}
