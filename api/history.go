package api

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/sgkandale/sharelock"
	pb "github.com/sgkandale/sharelock/proto/sharelock/v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// Historian knows who held keys; a mesh node implements it.
type Historian interface {
	// History returns what the members of the mesh have recorded of the holds of a key.
	History(ctx context.Context, r sharelock.HistoryRequest) (sharelock.History, error)
}

// History implements LockService.
func (s *locks) History(ctx context.Context, m *pb.HistoryRequest) (*pb.HistoryResponse, error) {
	r, err := pb.HistoryRequestFromProto(m)
	if err != nil {
		return nil, err
	}
	if err := r.Check(); err != nil {
		return nil, err
	}
	h, err := s.historian.History(ctx, r)
	if err != nil {
		return nil, err
	}
	return pb.HistoryToProto(&h), nil
}

func (s *httpAPI) history(r *http.Request, _ []byte) (proto.Message, error) {
	key, err := pathKey(r)
	if err != nil {
		return nil, err
	}
	q, err := query(r, "from", "to", "limit")
	if err != nil {
		return nil, err
	}
	m := &pb.HistoryRequest{Key: key}
	if m.From, err = timeParameter(q, "from"); err != nil {
		return nil, err
	}
	if m.To, err = timeParameter(q, "to"); err != nil {
		return nil, err
	}
	if given, ok := q["limit"]; ok {
		limit, err := strconv.ParseUint(given, 10, 32)
		if err != nil {
			return nil, sharelock.Invalid("limit", "is not a number")
		}
		m.Limit = uint32(limit)
	}
	return orNil(s.locks.History(r.Context(), m))
}

// timeParameter returns a time of the query; nil if it is absent.
func timeParameter(q map[string]string, name string) (*timestamppb.Timestamp, error) {
	given, ok := q[name]
	if !ok {
		return nil, nil
	}
	t, err := time.Parse(time.RFC3339Nano, given)
	if err != nil {
		return nil, sharelock.Invalid(name, "is not a time like 2006-01-02T15:04:05Z")
	}
	return timestamppb.New(t), nil
}
