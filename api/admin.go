package api

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"strings"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/api/httpjson"
	pb "github.com/sgkandale/sharelock/proto/sharelock/v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

// DebugFile is a file of a node's debugging archive.
type DebugFile struct {
	Name  string
	Write func(w io.Writer) error
}

// errNoLevel is the answer of a node whose program did not provide the level of its log.
var errNoLevel = &sharelock.Error{Err: sharelock.ErrInvalidArgument, Field: "level", Message: "this node's log level cannot be changed while it runs"}

// errNoDebug is the answer of a node whose program did not provide files for debugging.
var errNoDebug = &sharelock.Error{Err: sharelock.ErrInvalidArgument, Message: "this node has nothing for debugging"}

// levels maps the names that log.level allows to levels.
var levels = map[string]slog.Level{"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError}

// GetLogLevel implements sharelock.v1.MeshService.
func (s *meshes) GetLogLevel(context.Context, *pb.GetLogLevelRequest) (*pb.LogLevel, error) {
	if s.level == nil {
		return nil, errNoLevel
	}
	return &pb.LogLevel{Level: strings.ToLower(s.level.Level().String())}, nil
}

// SetLogLevel implements sharelock.v1.MeshService.
func (s *meshes) SetLogLevel(ctx context.Context, m *pb.SetLogLevelRequest) (*pb.LogLevel, error) {
	level, known := levels[m.GetLevel()]
	switch {
	case s.level == nil:
		return nil, errNoLevel
	case !known:
		return nil, sharelock.Invalid("level", "want debug, info, warn or error")
	}
	before := s.level.Level()
	s.level.Set(min(before, slog.LevelInfo)) // so that the line is logged at every level
	s.log.Info("the log level was changed", "from", before, "to", level, "by", callerOf(ctx))
	s.level.Set(level)
	return s.GetLogLevel(ctx, nil)
}

// debugPiece is the size of the pieces of a debugging file.
const debugPiece = 64 << 10

// GetDebug implements sharelock.v1.MeshService. A file that cannot be created contains the error instead.
func (s *meshes) GetDebug(_ *pb.GetDebugRequest, stream grpc.ServerStreamingServer[pb.DebugPiece]) error {
	if s.debug == nil {
		return pb.ToStatus(errNoDebug).Err()
	}
	for _, f := range s.debug() {
		out := &debugStream{stream: stream, file: f.Name}
		if err := f.Write(out); err != nil && out.failed == nil {
			_, _ = io.WriteString(out, "cannot be made: "+err.Error()+"\n")
		}
		if out.failed != nil {
			return out.failed
		}
	}
	return nil
}

// debugStream sends what is written to it as pieces of a file.
type debugStream struct {
	stream grpc.ServerStreamingServer[pb.DebugPiece]
	file   string
	failed error // of the stream
}

// Write implements io.Writer.
func (d *debugStream) Write(p []byte) (n int, err error) {
	for len(p) > 0 && d.failed == nil {
		piece := p[:min(len(p), debugPiece)]
		if d.failed = d.stream.Send(&pb.DebugPiece{File: d.file, Data: piece}); d.failed == nil {
			n += len(piece)
		}
		p = p[len(piece):]
	}
	return n, d.failed
}

func (s *httpAPI) logLevel(r *http.Request, _ []byte) (proto.Message, error) {
	if _, err := query(r); err != nil {
		return nil, err
	}
	return orNil(s.meshes.GetLogLevel(r.Context(), nil))
}

func (s *httpAPI) setLogLevel(r *http.Request, body []byte) (proto.Message, error) {
	if _, err := query(r); err != nil {
		return nil, err
	}
	m := &pb.SetLogLevelRequest{}
	if err := httpjson.Decode(body, m); err != nil {
		return nil, err
	}
	return orNil(s.meshes.SetLogLevel(r.Context(), m))
}
