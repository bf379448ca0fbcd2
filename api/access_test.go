package api

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/mux"
	"github.com/sgkandale/sharelock/api/gate"
	"github.com/sgkandale/sharelock/internal/auth"
	"github.com/sgkandale/sharelock/internal/page"
	pb "github.com/sgkandale/sharelock/proto/sharelock/v1"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/dynamicpb"
	"google.golang.org/protobuf/types/known/durationpb"
)

// theKey is the key of every call in the tables below.
const theKey = "prod/k"

// callers make every call in the tables below, in this order: one without credentials, one that may read
// everything, one with another prefix, one with the prefix of theKey, one that may also force there, and
// an administrator without other permissions.
var callers = []string{"anonymous", "reader", "other", "owner", "force", "admin"}

// accessFile is their auth file, without the tokens.
const accessFile = `policies:
  reader: [{keys: [""], verbs: [read]}]
  other: [{keys: ["other/"], verbs: [acquire, read, force]}]
  owner: [{keys: ["prod/"], verbs: [acquire, read]}]
  force: [{keys: ["prod/"], verbs: [acquire, read, force]}]
  admin: [{keys: [""], verbs: [admin]}]
principals:
`

// authority is an auth file with a token for each of its principals.
type authority struct {
	*auth.Authority
	file   string
	tokens map[string]string
}

// newAuthority creates an authority with a principal for each policy of the file.
func newAuthority(t testing.TB, policies string, names ...string) *authority {
	t.Helper()
	a := &authority{file: filepath.Join(t.TempDir(), "auth.yaml"), tokens: map[string]string{}}
	text := policies
	for _, name := range names {
		token, stored := auth.NewToken()
		a.tokens[name] = token
		text += "  - {name: " + name + ", policies: [" + name + "], tokens: [\"" + stored + "\"]}\n"
	}
	a.write(t, text)
	var err error
	a.Authority, err = auth.Open(auth.Config{File: a.file, AllowPlaintextTokens: true, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func (a *authority) write(t testing.TB, text string) {
	t.Helper()
	if err := os.WriteFile(a.file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// text returns the file.
func (a *authority) text(t testing.TB) string {
	t.Helper()
	b, err := os.ReadFile(a.file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// as returns a context for gRPC calls of a caller.
func (a *authority) as(ctx context.Context, name string) context.Context {
	if token := a.tokens[name]; token != "" {
		return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
	}
	return ctx
}

// verdict summarises an answer's code: + if the call was allowed, d if it was denied, u if the caller must
// authenticate first.
func verdict(code codes.Code) string {
	switch code {
	case codes.Unauthenticated:
		return "u"
	case codes.PermissionDenied:
		return "d"
	case codes.OK, codes.NotFound, codes.Aborted, codes.FailedPrecondition, codes.InvalidArgument:
		return "+"
	default:
		return "?"
	}
}

// grpcVerdicts has a row for every method of the gRPC server: the verdict for each caller.
var grpcVerdicts = map[string]string{
	"/sharelock.v1.LockService/Acquire":      "udd++d",
	"/sharelock.v1.LockService/Renew":        "udd++d",
	"/sharelock.v1.LockService/Release":      "udd++d",
	"/sharelock.v1.LockService/GiveUp":       "udd++d",
	"/sharelock.v1.LockService/Get":          "u+d++d",
	"/sharelock.v1.LockService/List":         "u++++d", // other: filtered
	"/sharelock.v1.LockService/Watch":        "u+d++d",
	"/sharelock.v1.LockService/CheckToken":   "u+d++d",
	"/sharelock.v1.LockService/History":      "u+d++d",
	"/sharelock.v1.LockService/ForceRelease": "uddd+d",
	"/sharelock.v1.LockService/Session":      "++++++", // its calls have rows of their own

	"/sharelock.v1.MeshService/GetMesh":       "u++++d",
	"/sharelock.v1.MeshService/Locate":        "u++++d",
	"/sharelock.v1.MeshService/GetRing":       "u++++d",
	"/sharelock.v1.MeshService/GetActivity":   "u++++d",
	"/sharelock.v1.MeshService/WhoAmI":        "++++++",
	"/sharelock.v1.MeshService/Leave":         "udddd+",
	"/sharelock.v1.MeshService/Decommission":  "udddd+",
	"/sharelock.v1.MeshService/GetKeyring":    "udddd+",
	"/sharelock.v1.MeshService/ChangeKeyring": "udddd+",
	"/sharelock.v1.MeshService/GetLogLevel":   "udddd+",
	"/sharelock.v1.MeshService/SetLogLevel":   "udddd+",
	"/sharelock.v1.MeshService/GetDebug":      "udddd+",

	"/sharelock.ShareLockService/Ping":   "++++++",
	"/sharelock.ShareLockService/Lock":   "udd++d",
	"/sharelock.ShareLockService/Unlock": "udd++d",

	"/grpc.health.v1.Health/Check": "++++++",
	"/grpc.health.v1.Health/List":  "++++++",
	"/grpc.health.v1.Health/Watch": "++++++",

	"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo":      "u++++d",
	"/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": "u++++d",
}

func TestAccessOfGRPC(t *testing.T) {
	a := newAuthority(t, accessFile, callers[1:]...)
	node := newFake()
	node.set(watching)
	c := dialFake(t, node, Options{Reflection: true, Auth: a.Authority, Level: new(slog.LevelVar), Debug: func() []DebugFile { return nil }})
	seen := 0
	for service, info := range c.server.server.GetServiceInfo() {
		for _, m := range info.Methods {
			full := "/" + service + "/" + m.Name
			want, ok := grpcVerdicts[full]
			if !ok || !gate.GRPCAccess()[full].Declared() {
				t.Errorf("%s has no row here, or declares no access", full)
				continue
			}
			seen++
			got := ""
			for _, name := range callers {
				got += verdict(invoke(t, c, a.as(t.Context(), name), full, m))
			}
			if got != want {
				t.Errorf("%s: %s, want %s for %v", full, got, want, callers)
			}
		}
	}
	if seen != len(grpcVerdicts) || seen != len(gate.GRPCAccess()) {
		t.Errorf("%d methods, %d rows, %d declared", seen, len(grpcVerdicts), len(gate.GRPCAccess()))
	}
}

// invoke makes a call with theKey, if the request has a key, and returns the code of the answer.
func invoke(t *testing.T, c *dialed, ctx context.Context, full string, m grpc.MethodInfo) codes.Code {
	t.Helper()
	d, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(strings.ReplaceAll(full[1:], "/", ".")))
	if err != nil {
		t.Fatal(err)
	}
	method := d.(protoreflect.MethodDescriptor)
	req, resp := dynamicpb.NewMessage(method.Input()), dynamicpb.NewMessage(method.Output())
	if key := method.Input().Fields().ByName("key"); key != nil {
		req.Set(key, protoreflect.ValueOfString(theKey))
	}
	if wait := method.Input().Fields().ByName("wait"); wait != nil {
		req.Mutable(wait) // do not wait
	}
	if wait := method.Input().Fields().ByName("timeoutMs"); wait != nil {
		req.Set(wait, protoreflect.ValueOfInt32(1))
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if !m.IsClientStream && !m.IsServerStream {
		return status.Code(c.conn.Invoke(ctx, full, req, resp))
	}
	st, err := c.conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: m.IsClientStream, ServerStreams: true}, full)
	if err != nil {
		return status.Code(err)
	}
	if err := errors.Join(st.SendMsg(req), st.CloseSend()); err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	if err := st.RecvMsg(resp); !errors.Is(err, io.EOF) {
		return status.Code(err)
	}
	return codes.OK
}

// httpVerdicts has a row for every method of every route: the verdict for each caller.
var httpVerdicts = map[string]string{
	"POST /v1/locks/{key:.*}":                    "udd++d",
	"PATCH /v1/locks/{key:.*}":                   "udd++d",
	"DELETE /v1/locks/{key:.*}":                  "udd++d",
	"DELETE /v1/locks/{key:.*}?force=true":       "uddd+d",
	"GET /v1/locks/{key:.*}":                     "u+d++d",
	"GET /v1/locks/{key:.*}/token/{token:[^/]*}": "u+d++d",
	"GET /v1/locks":                              "u++++d",
	"GET /v1/history/{key:.*}":                   "u+d++d",
	"POST /v1/auth/sign-in":                      "++++++",
	"POST /v1/auth/sign-out":                     "++++++",
	"GET /v1/events":                             "u++++d", // other: filtered
	"GET /v1/auth/whoami":                        "++++++",
	"GET /v1/mesh":                               "u++++d",
	"GET /v1/mesh/locate/{key:.*}":               "u++++d",
	"GET /v1/mesh/ring":                          "u++++d",
	"GET /v1/mesh/activity":                      "u++++d",
	"POST /v1/mesh/leave":                        "udddd+",
	"GET /v1/admin/log-level":                    "udddd+",
	"PUT /v1/admin/log-level":                    "udddd+",
	"GET /healthz":                               "++++++",
	"GET /readyz":                                "++++++",
	"GET /openapi.yaml":                          "++++++",
	"POST /lock":                                 "udd++d",
	"POST /unlock":                               "udd++d",
	"GET /":                                      "++++++",
	"GET /assets/":                               "++++++",
	"GET /ping":                                  "++++++",
	"POST /ping":                                 "++++++",
	"PUT /ping":                                  "++++++",
	"PATCH /ping":                                "++++++",
	"DELETE /ping":                               "++++++",
	"OPTIONS /ping":                              "++++++",
}

func TestAccessOfHTTP(t *testing.T) {
	a := newAuthority(t, accessFile, callers[1:]...)
	node := newFake()
	node.set(watching)
	api := newHTTPAPI(node, Options{Auth: a.Authority, Dashboard: true})
	router := api.routes()
	seen := map[string]bool{}
	check := func(row, method, target string) {
		t.Helper()
		want, ok := httpVerdicts[row]
		if !ok {
			t.Errorf("%s has no row", row)
			return
		}
		seen[row] = true
		got := ""
		for _, name := range callers {
			w := request(a, router, name, method, target)
			switch w.Code {
			case http.StatusUnauthorized:
				got += "u"
			case http.StatusForbidden:
				got += "d"
			case 499, http.StatusInternalServerError, http.StatusServiceUnavailable:
				got += "?"
			default:
				got += "+"
			}
		}
		if got != want {
			t.Errorf("%s: %s, want %s for %v", row, got, want, callers)
		}
	}
	err := router.(*mux.Router).Walk(func(route *mux.Route, _ *mux.Router, _ []*mux.Route) error {
		template, err := route.GetPathTemplate()
		if err != nil {
			return err
		}
		target := strings.NewReplacer("{key:.*}", theKey, "{token:[^/]*}", "1").Replace(template)
		for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} {
			w := request(a, router, "owner", method, target)
			static := template == "/" || template == page.AssetsPath
			if w.Code == http.StatusMethodNotAllowed || method != "GET" && (static || strings.Contains(template, "/token/")) {
				continue
			}
			check(method+" "+template, method, target)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	check("DELETE /v1/locks/{key:.*}?force=true", "DELETE", "/v1/locks/"+theKey+"?force=true&token=1")
	if len(seen) != len(httpVerdicts) {
		t.Errorf("%d rows of %d are of routes", len(seen), len(httpVerdicts))
	}
}

// request makes an HTTP request of a caller. If the key belongs into the body, it is theKey.
func request(a *authority, h http.Handler, name, method, target string) *httptest.ResponseRecorder {
	body := ""
	switch {
	case target == "/lock" || target == "/unlock":
		body = `{"key":"` + theKey + `","timeoutMs":1}`
	case method == http.MethodPost && strings.HasPrefix(target, "/v1/locks/"):
		body = `{"wait":"0s"}`
	}
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.Header.Set(clientIDHeader, "c")
	if token := a.tokens[name]; token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// sessionVerdicts has a row for every field of the requests and calls of a session that has a key or
// concerns all keys. cancel, ping, detach, close and keepalive act on what was allowed before.
var sessionVerdicts = map[string]string{
	"acquire":   "udd++d",
	"renew":     "udd++d",
	"release":   "udd++d",
	"give_up":   "udd++d",
	"cancel":    "",
	"ping":      "",
	"keepalive": "",
	"attach":    "udd++d",
	"detach":    "",
	"close":     "",
	"ring":      "u++++d",
	"token":     "",
	"calls":     "",
	"watch":     "u+d++d",
	"unwatch":   "",
	"read":      "",
}

func TestAccessOfSessions(t *testing.T) { bothWays(t, testAccessOfSessions) }

func testAccessOfSessions(t *testing.T, open open) {
	a := newAuthority(t, accessFile, callers[1:]...)
	node := newFake()
	node.set(watching)
	c := dialFake(t, node, Options{Auth: a.Authority})
	call, request := (&pb.SessionCall{}).ProtoReflect().Descriptor(), (&pb.SessionRequest{}).ProtoReflect().Descriptor()
	fields := []protoreflect.FieldDescriptor{}
	for i := range request.Fields().Len() {
		fields = append(fields, request.Fields().Get(i))
	}
	for i := range call.Oneofs().Get(0).Fields().Len() {
		fields = append(fields, call.Oneofs().Get(0).Fields().Get(i))
	}
	for _, f := range fields {
		want, ok := sessionVerdicts[string(f.Name())]
		if !ok {
			t.Errorf("%s has no row", f.FullName())
		}
		if want == "" {
			continue
		}
		got := ""
		for _, name := range callers {
			got += sessionVerdict(t, open(t, c, t.Context()), a.tokens[name], f)
		}
		if got != want {
			t.Errorf("%s: %s, want %s for %v", f.FullName(), got, want, callers)
		}
	}
}

// sessionVerdict sends a message with one field and a token, and returns the verdict.
func sessionVerdict(t *testing.T, k *talk, token string, f protoreflect.FieldDescriptor) string {
	t.Helper()
	m := &pb.SessionRequest{Token: token}
	switch {
	case f.ContainingOneof() != nil:
		one := &pb.SessionCall{Id: 1}
		inner := one.ProtoReflect().Mutable(f).Message()
		set := func(name protoreflect.Name, v any) {
			if d := inner.Descriptor().Fields().ByName(name); d != nil {
				inner.Set(d, protoreflect.ValueOf(v))
			}
		}
		set("key", theKey)
		set("client_id", "c")
		set("request_id", "r")
		set("token", uint64(1))
		if wait := inner.Descriptor().Fields().ByName("wait"); wait != nil {
			inner.Mutable(wait) // do not wait
		}
		m.Calls = []*pb.SessionCall{one}
	case f.Name() == "attach":
		m.Attach = []*pb.SessionHold{{Id: 1, Key: theKey, Token: 1, Ttl: durationpb.New(time.Second)}}
	case f.Name() == "ring":
		m.Ring = true
	case f.Name() == "watch":
		m.Watch = []*pb.SessionWatch{{Id: 1, Watch: &pb.WatchRequest{Key: theKey}}}
	}
	if err := k.Send(m); err != nil {
		t.Fatal(err)
	}
	for {
		r, err := k.Recv()
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case len(r.GetAnswers()) > 0:
			return verdict(codeOf(t, r.GetAnswers()[0].GetStatus()))
		case len(r.GetEnded()) > 0:
			return verdict(codeOf(t, r.GetEnded()[0].GetStatus()))
		case len(r.GetEvents()) > 0 && len(r.GetEvents()[0].GetEvents()) > 0:
			return "+"
		case len(r.GetEvents()) > 0:
			return verdict(codeOf(t, r.GetEvents()[0].GetEnded()))
		case r.GetRing() != nil && len(r.GetRing().GetMembers()) > 0:
			return "+"
		case r.GetRing() != nil && token == "":
			return "u"
		case r.GetRing() != nil:
			return "d"
		}
	}
}

// codeOf returns the code of a google.rpc.Status in its wire format.
func codeOf(t *testing.T, b []byte) codes.Code {
	t.Helper()
	var st spb.Status
	if err := proto.Unmarshal(b, &st); err != nil {
		t.Fatal(err)
	}
	return codes.Code(st.GetCode())
}
