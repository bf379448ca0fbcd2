package gate

import (
	"context"
	"net"
	"net/http"
	"sync"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/api/remote"
	"github.com/sgkandale/sharelock/internal/auth"
	"github.com/sgkandale/sharelock/internal/sessionwire"
	pb "github.com/sgkandale/sharelock/proto/sharelock/v1"
	"google.golang.org/grpc"
)

// everyone is the rule that allows everything at a node without authentication.
const everyone = "everyone: there is no auth.file"

// told returns the visit of a call that everyone may make. At a node that does not authenticate callers,
// the audit log still records what they do, and names them by their addresses. need and key describe the
// call, unless the handler does so in [Gate.Check].
func (g *Gate) told(need Access, key string, from entrance) *visit {
	return &visit{audit: g.audit, from: from, verb: need.verb, key: key, rule: everyone}
}

// tellUnary returns an interceptor that records calls.
func (g *Gate) tellUnary() grpc.UnaryServerInterceptor {
	table := GRPCAccess()
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		v := g.told(table[info.FullMethod], keyOf(req), entrance{DoorGRPC, info.FullMethod, remote.Addr(ctx)})
		ctx = context.WithValue(ctx, visitKey{}, v)
		resp, err := next(ctx, req)
		Done(ctx, resp, err)
		return resp, err
	}
}

// tellStreams returns an interceptor that records streams, except sessions, which record their calls.
func (g *Gate) tellStreams() grpc.StreamServerInterceptor {
	table := GRPCAccess()
	return func(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
		err := next(srv, stream)
		if info.FullMethod != pb.LockService_Session_FullMethodName {
			ctx := stream.Context()
			g.told(table[info.FullMethod], "", entrance{DoorGRPC, info.FullMethod, remote.Addr(ctx)}).finished(ctx, 0, err)
		}
		return err
	}
}

// tellHTTP returns a handler that records calls; see [Gate.HTTP].
func (g *Gate) tellHTTP(name string, need Access, key func(*http.Request) (string, error), h http.HandlerFunc) http.HandlerFunc {
	if g == nil {
		return h
	}
	return func(w http.ResponseWriter, r *http.Request) {
		of := ""
		if need.scope == onKey {
			of, _ = key(r) //nolint:errcheck // the handler refuses it
		}
		v := g.told(need, of, entrance{DoorHTTP, name, remote.Addr(r.Context())})
		h(w, r.WithContext(context.WithValue(r.Context(), visitKey{}, v)))
	}
}

// Trail returns what records the calls of a session without a guard, or nil if they are not recorded.
func (g *Gate) Trail() *Trail {
	if g == nil || !g.audit.Calls() {
		return nil
	}
	return &Trail{}
}

// Follow registers calls that begin in a session without a guard, from an address.
func (g *Gate) Follow(t *Trail, remote net.Addr, calls []sessionwire.Call) {
	for i := range calls {
		if c := &calls[i]; c.Err == nil {
			t.begin(c.ID, g.told(NeedsAcquire, c.Key, entrance{DoorSession, methodOf(c.Kind), remote}))
		}
	}
}

// Trail holds the calls in flight of a session whose end the audit log records. The zero value is empty.
// It is safe for concurrent use.
type Trail struct {
	mu    sync.Mutex
	calls map[uint64]*visit // by id; guarded by mu
}

func (t *Trail) begin(id uint64, v *visit) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.calls == nil {
		t.calls = map[uint64]*visit{}
	}
	t.calls[id] = v
}

// Answered records the end of a call.
func (t *Trail) Answered(id uint64, token sharelock.Token, err error) {
	t.mu.Lock()
	v := t.calls[id]
	delete(t.calls, id)
	t.mu.Unlock()
	if v != nil {
		v.finished(context.Background(), token, err)
	}
}

// keyOf returns the key of a request, if it has one.
func keyOf(req any) string {
	if r, ok := req.(interface{ GetKey() string }); ok {
		return r.GetKey()
	}
	return ""
}

// note sets what a call in a visit without a gate is about.
func (v *visit) note(verb auth.Verb, key string) {
	if v != nil {
		v.verb, v.key = verb, key
	}
}
