package api

import (
	"context"
	"net/http"
	"path"
	"strings"
	"time"
	"unicode"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/api/gate"
	"github.com/sgkandale/sharelock/api/halfclosed"
	"github.com/sgkandale/sharelock/internal/metrics"
	original "github.com/sgkandale/sharelock/proto/sharelock"
	pb "github.com/sgkandale/sharelock/proto/sharelock/v1"
	"google.golang.org/grpc"
)

// doorOriginal is the door of the original API. Sessions are counted in package mesh/route.
const doorOriginal = "original"

// countedCode returns the code under which an answer is counted.
func countedCode(err error) string {
	if err == nil {
		return metrics.OK
	}
	return pb.Reason(err)
}

// originalCodes are the codes of the original API's outcomes other than success.
var originalCodes = map[original.Status]error{
	original.Status_Timeout:     sharelock.ErrLockHeld,
	original.Status_UnknownLock: sharelock.ErrNotHeld,
	original.Status_InvalidData: sharelock.ErrInvalidArgument,
}

// countUnary counts the calls of unary gRPC, apart from health checks and reflection. It needs the
// errors of package sharelock, before they become statuses.
func countUnary(calls *metrics.Calls) grpc.UnaryServerInterceptor {
	counters := map[string]*metrics.Method{}
	for _, service := range []struct {
		door string
		desc grpc.ServiceDesc
	}{
		{gate.DoorGRPC, pb.LockService_ServiceDesc},
		{gate.DoorGRPC, pb.MeshService_ServiceDesc},
		{doorOriginal, original.ShareLockService_ServiceDesc},
	} {
		for _, m := range service.desc.Methods {
			counters["/"+service.desc.ServiceName+"/"+m.MethodName] = calls.Method(service.door, snake(m.MethodName))
		}
	}
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		counter := counters[info.FullMethod]
		if counter == nil {
			return next(ctx, req)
		}
		began := time.Now()
		resp, err := next(ctx, req)
		outcome := err
		if r, ok := resp.(interface{ GetStatus() original.Status }); ok && err == nil {
			outcome = originalCodes[r.GetStatus()]
		}
		counter.Record(countedCode(outcome), time.Since(began))
		return resp, err
	}
}

// snake returns the name of a gRPC method in snake_case.
func snake(name string) string {
	var b strings.Builder
	for i, r := range path.Base(name) {
		if i > 0 && unicode.IsUpper(r) {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

// countedHTTP maps each counted method of a route to its door and name. Others are not counted.
var countedHTTP = map[string]struct{ door, method string }{
	"GET /v1/locks/{key:.*}/token/{token:[^/]*}": {gate.DoorHTTP, "check_token"},

	"POST /v1/locks/{key:.*}":      {gate.DoorHTTP, "acquire"},
	"PATCH /v1/locks/{key:.*}":     {gate.DoorHTTP, "renew"},
	"DELETE /v1/locks/{key:.*}":    {gate.DoorHTTP, "release"},
	"GET /v1/locks/{key:.*}":       {gate.DoorHTTP, "get"},
	"GET /v1/locks":                {gate.DoorHTTP, "list"},
	"GET /v1/auth/whoami":          {gate.DoorHTTP, "who_am_i"},
	"GET /v1/mesh":                 {gate.DoorHTTP, "get_mesh"},
	"GET /v1/mesh/locate/{key:.*}": {gate.DoorHTTP, "locate"},
	"GET /v1/mesh/ring":            {gate.DoorHTTP, "get_ring"},
	"GET /v1/mesh/activity":        {gate.DoorHTTP, "get_activity"},
	"POST /v1/mesh/leave":          {gate.DoorHTTP, "leave"},
	"GET /v1/admin/log-level":      {gate.DoorHTTP, "get_log_level"},
	"PUT /v1/admin/log-level":      {gate.DoorHTTP, "set_log_level"},

	"GET /ping":    {doorOriginal, "ping"},
	"POST /lock":   {doorOriginal, "lock"},
	"POST /unlock": {doorOriginal, "unlock"},
}

// counted returns a handler that counts the answers of next.
func (s *httpAPI) counted(route string, next http.HandlerFunc) http.HandlerFunc {
	as, ok := countedHTTP[route]
	if !ok || s.calls == nil {
		return next
	}
	counter := s.calls.Method(as.door, as.method)
	forced := counter
	if as.method == "release" {
		forced = s.calls.Method(as.door, "force_release")
	}
	return func(w http.ResponseWriter, r *http.Request) {
		if t := trackedBy(w); t != nil {
			t.counter, t.began = counter, time.Now()
			if forced != counter && r.URL.RawQuery != "" && r.URL.Query().Get("force") == "true" {
				t.counter = forced
			}
		}
		next(w, r)
	}
}

// trackedBy returns the record of a request's answer, or nil if there is none.
func trackedBy(w http.ResponseWriter) *tracked {
	for {
		switch v := w.(type) {
		case *tracked:
			return v
		case *halfclosed.Conn:
			w = v.Before()
		case interface{ Unwrap() http.ResponseWriter }:
			w = v.Unwrap()
		default:
			return nil
		}
	}
}

// count counts the answer, once, if the request's method is counted.
func (t *tracked) count() {
	if t.counter == nil {
		return
	}
	t.counter.Record(countedCode(t.err), time.Since(t.began))
	t.counter = nil
}

// outcome records the error with which a request was answered.
func outcome(w http.ResponseWriter, err error) {
	if t := trackedBy(w); t != nil {
		t.err = err
	}
}
