package api

import (
	"context"
	"net/http"

	"github.com/sgkandale/sharelock/internal/trace"
	"github.com/sgkandale/sharelock/internal/tracecontext"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

// traceUnary puts the caller's span of a call into its context. Calls of sessions carry theirs in
// their messages.
func traceUnary(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	if values := metadata.ValueFromIncomingContext(ctx, tracecontext.Header); len(values) == 1 {
		ctx = traced(ctx, values[0])
	}
	return next(ctx, req)
}

// traceHTTP does the same for HTTP, if it is on.
func traceHTTP(on bool, next http.Handler) http.Handler {
	if !on {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if values := r.Header.Values(tracecontext.Header); len(values) == 1 {
			r = r.WithContext(traced(r.Context(), values[0]))
		}
		next.ServeHTTP(w, r)
	})
}

// traced returns a context with the span that a header names. An invalid header is ignored.
func traced(ctx context.Context, header string) context.Context {
	if p := tracecontext.Parse(header); p != nil {
		return trace.With(ctx, p)
	}
	return ctx
}
