package api

import (
	"context"
	"net"
	"net/http"
	"sync"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/api/remote"
	"github.com/sgkandale/sharelock/internal/audit"
	"github.com/sgkandale/sharelock/internal/auth"
	"github.com/sgkandale/sharelock/internal/sessionwire"
	pb "github.com/sgkandale/sharelock/proto/sharelock/v1"
	"google.golang.org/grpc"
)

// witness tells the audit log what callers do at a node that does not authenticate them: who they are
// is their address then. With authentication the gate does so. A nil witness tells nothing.
type witness struct{ audit *audit.Log }

// everyone is the rule by which everything is allowed at a node without authentication.
const everyone = "everyone: there is no auth.file"

// newWitness returns the witness of a server, or nil.
func newWitness(o Options) *witness {
	if o.Audit == nil || o.Auth != nil {
		return nil
	}
	return &witness{o.Audit}
}

// visit returns a visit of a call that everyone may make. What it says of the call is known before, or
// the handler says so in [gate.check].
func (w *witness) visit(need access, key string, from entrance) *visit {
	return &visit{audit: w.audit, from: from, verb: need.verb, key: key, rule: everyone}
}

// unary returns an interceptor that tells of calls.
func (w *witness) unary() grpc.UnaryServerInterceptor {
	table := grpcAccess()
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		v := w.visit(table[info.FullMethod], keyOf(req), entrance{doorGRPC, info.FullMethod, remote.Addr(ctx)})
		ctx = context.WithValue(ctx, visitKey{}, v)
		resp, err := next(ctx, req)
		done(ctx, resp, err)
		return resp, err
	}
}

// stream returns an interceptor that tells of streams, but sessions, which tell of their calls.
func (w *witness) stream() grpc.StreamServerInterceptor {
	table := grpcAccess()
	return func(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
		err := next(srv, stream)
		if info.FullMethod != pb.LockService_Session_FullMethodName {
			ctx := stream.Context()
			w.visit(table[info.FullMethod], "", entrance{doorGRPC, info.FullMethod, remote.Addr(ctx)}).finished(ctx, 0, err)
		}
		return err
	}
}

// http returns a handler that tells of calls. name is for the audit log.
func (w *witness) http(name string, need access, h http.HandlerFunc) http.HandlerFunc {
	if w == nil || need.scope == openToAll {
		return h
	}
	return func(rw http.ResponseWriter, r *http.Request) {
		key := ""
		if need.scope == onKey {
			key, _ = pathKey(r) //nolint:errcheck // the handler refuses it
		}
		v := w.visit(need, key, entrance{doorHTTP, name, remote.Addr(r.Context())})
		h(rw, r.WithContext(context.WithValue(r.Context(), visitKey{}, v)))
	}
}

// trail returns what tells of the calls of a session; nil if nobody wants to know.
func (w *witness) trail() *trail {
	if w == nil || !w.audit.Calls() {
		return nil
	}
	return &trail{}
}

// follow follows calls that begin in a session from an address.
func (w *witness) follow(t *trail, remote net.Addr, calls []sessionwire.Call) {
	for i := range calls {
		if c := &calls[i]; c.Err == nil {
			t.begin(c.ID, w.visit(needsAcquire, c.Key, entrance{doorSession, methodOf(c.Kind), remote}))
		}
	}
}

// trail is the calls in flight of a session that the audit log wants to know the end of. The zero value
// has none. It is safe for concurrent use.
type trail struct {
	mu    sync.Mutex
	calls map[uint64]*visit // by id; guarded by mu
}

func (t *trail) begin(id uint64, v *visit) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.calls == nil {
		t.calls = map[uint64]*visit{}
	}
	t.calls[id] = v
}

// answered records the end of a call.
func (t *trail) answered(id uint64, token sharelock.Token, err error) {
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

// note notes what a call in a visit without a gate is about.
func (v *visit) note(verb auth.Verb, key string) {
	if v != nil {
		v.verb, v.key = verb, key
	}
}
