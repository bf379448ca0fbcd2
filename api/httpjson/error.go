package httpjson

import (
	"encoding/json"

	pb "github.com/sgkandale/sharelock/proto/sharelock/v1"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/protobuf/proto"
)

// Error is the value in {"error":…}.
type Error struct {
	Code    int                        `json:"code"`
	Reason  string                     `json:"reason"`
	Message string                     `json:"message"`
	Details map[string]json.RawMessage `json:"details"`
}

// Describe returns the body of an error. Its details are the fields of the gRPC status's details
// and of more, which may be nil.
func Describe(err error, more proto.Message) Error {
	st := pb.ToStatus(err)
	b := Error{
		Code:    pb.HTTPStatus(err),
		Reason:  pb.Reason(err),
		Message: st.Message(),
		Details: map[string]json.RawMessage{},
	}
	for _, detail := range st.Details() {
		switch d := detail.(type) {
		case *errdetails.ErrorInfo:
			if field := d.GetMetadata()["field"]; field != "" {
				b.Details["field"], _ = json.Marshal(field) // a string can always be encoded
			}
		case *errdetails.RetryInfo:
			b.Details["retryAfter"] = encodeDuration(d.GetRetryDelay())
		case *pb.LockHeldDetail:
			b.add(d)
		}
	}
	if more != nil {
		b.add(more)
	}
	return b
}

// add adds the fields of m to the details. It drops a message that cannot be encoded, which must
// not hide the error.
func (b *Error) add(m proto.Message) {
	if data, err := Encode(m); err == nil {
		_ = json.Unmarshal(data, &b.Details) // Encode has made valid JSON
	}
}
