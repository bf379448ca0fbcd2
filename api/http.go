package api

import (
	"context"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/mux"
	"github.com/sgkandale/sharelock/api/gate"
	"github.com/sgkandale/sharelock/api/refuse"
	"github.com/sgkandale/sharelock/api/remote"
	"github.com/sgkandale/sharelock/internal/metrics"
	"github.com/sgkandale/sharelock/internal/page"
	pb "github.com/sgkandale/sharelock/proto/sharelock/v1"
)

// How long the parts of one HTTP request may take. None of them includes the wait for a lock:
// net/http clears readTimeout after the body was read, and the answer gets its own deadline when it
// is written.
const (
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 15 * time.Second
	writeTimeout      = 30 * time.Second
	idleTimeout       = 2 * time.Minute
)

// HTTP is the server of a node's HTTP API.
type HTTP struct {
	*http.Server
	api *httpAPI
}

// Shutdown is like [http.Server.Shutdown], but also waits for the calls of callers that have closed their half
// of the connection: what is granted to one that does not get the answer is released while the node can.
func (s *HTTP) Shutdown(ctx context.Context) error {
	if err := s.Server.Shutdown(ctx); err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.api.halves.Wait()
	}()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// NewHTTP returns a server of a node's HTTP API in front of node: /v1, the original /ping, /lock
// and /unlock, /healthz and /readyz. The caller serves a listener with it and shuts it down, and
// provides address and TLS.
//
// Keys are part of the path. A slash in a key need not be encoded, except where the rest of the key
// would be taken for another path: GET of a key that ends in /token/… needs %2F.
func NewHTTP(node Node, o Options) *HTTP {
	s := newHTTPAPI(node, o)
	server := &http.Server{
		Handler:           s.guard(s.gate.FromHere(traceHTTP(o.Traces, s.routes()), s.refuse)),
		ConnContext:       remote.With,
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	if o.WrongPort != nil {
		refuse.AtHTTP(server, o.WrongPort, o.TLS)
	}
	return &HTTP{server, s}
}

// httpAPI holds the state of the handlers. It is immutable, except for halves.
type httpAPI struct {
	// halves counts the calls on connections that may be half-closed, which net/http does not wait for.
	halves       sync.WaitGroup
	log          *slog.Logger
	locks        *locks
	meshes       *meshes
	legacy       *legacy
	ready        func() error
	writeTimeout time.Duration
	// page is the web page; nil if it is off.
	page http.Handler
	gate *gate.Gate // may be nil
	// metrics answers GET /metrics, and calls counts calls; both may be nil.
	metrics http.Handler
	calls   *metrics.Calls
}

func newHTTPAPI(node Node, o Options) *httpAPI {
	gate := o.gate()
	s := &httpAPI{
		log:          o.logger(),
		locks:        &locks{node: node, watcher: node, historian: node, gate: gate},
		meshes:       newMeshes(node, gate, o),
		legacy:       &legacy{node: node, maxWait: o.MaxWait, gate: gate},
		ready:        node.Ready,
		writeTimeout: writeTimeout,
		gate:         gate,
		metrics:      o.Metrics,
		calls:        o.Calls,
	}
	if o.Dashboard {
		s.page = page.Handler()
	}
	return s
}

func (s *httpAPI) routes() http.Handler {
	r := mux.NewRouter().UseEncodedPath().SkipClean(true)
	// More specific routes come first: a key may contain slashes, and mux uses the first route
	// that matches.
	s.handle(r.MatcherFunc(mayBeTokenCheck), "/v1/locks/{key:.*}/token/{token:[^/]*}", methods{
		http.MethodGet: {gate.NeedsRead, s.callThrough(s.checkToken)},
	})
	s.handle(r.NewRoute(), "/v1/locks/{key:.*}", methods{
		http.MethodPost:  {gate.NeedsAcquire, s.callHalf(s.acquire)},
		http.MethodPatch: {gate.KeepsLocks, s.callThrough(s.renew)},
		// A query parameter makes it a forced release.
		http.MethodDelete: {gate.Releases, s.callThrough(s.release)},
		http.MethodGet:    {gate.NeedsRead, s.callThrough(s.get)},
	})
	s.handle(r.NewRoute(), "/v1/locks", methods{http.MethodGet: {gate.NeedsChecks, s.callThrough(s.list)}})
	s.handle(r.NewRoute(), "/v1/history/{key:.*}", methods{http.MethodGet: {gate.NeedsRead, s.callThrough(s.history)}})
	s.handle(r.NewRoute(), "/v1/events", methods{http.MethodGet: {gate.NeedsChecks, s.events}})
	s.handle(r.NewRoute(), "/v1/auth/whoami", methods{http.MethodGet: {gate.NeedsCaller, s.call(s.whoAmI)}})
	s.handle(r.NewRoute(), "/v1/auth/sign-in", methods{http.MethodPost: {gate.NeedsNothing, s.signIn}})
	s.handle(r.NewRoute(), "/v1/auth/sign-out", methods{http.MethodPost: {gate.NeedsNothing, s.signOut}})
	s.handle(r.NewRoute(), "/v1/mesh", methods{http.MethodGet: {gate.NeedsReadOfAny, s.call(s.mesh)}})
	s.handle(r.NewRoute(), "/v1/mesh/locate/{key:.*}", methods{http.MethodGet: {gate.NeedsReadOfAny, s.call(s.locate)}})
	s.handle(r.NewRoute(), "/v1/mesh/ring", methods{http.MethodGet: {gate.NeedsReadOfAny, s.call(s.ring)}})
	s.handle(r.NewRoute(), "/v1/mesh/activity", methods{http.MethodGet: {gate.NeedsReadOfAny, s.call(s.activity)}})
	s.handle(r.NewRoute(), "/v1/mesh/leave", methods{http.MethodPost: {gate.NeedsAdmin, s.call(s.leave)}})
	s.handle(r.NewRoute(), "/v1/admin/log-level", methods{
		http.MethodGet: {gate.NeedsAdmin, s.call(s.logLevel)},
		http.MethodPut: {gate.NeedsAdmin, s.call(s.setLogLevel)},
	})
	s.handle(r.NewRoute(), "/healthz", methods{http.MethodGet: {gate.NeedsNothing, s.healthz}})
	s.handle(r.NewRoute(), "/readyz", methods{http.MethodGet: {gate.NeedsNothing, s.readyz}})
	s.handle(r.NewRoute(), "/openapi.yaml", methods{http.MethodGet: {gate.NeedsNothing, s.openapi}})
	if s.metrics != nil {
		s.handle(r.NewRoute(), "/metrics", methods{http.MethodGet: {gate.NeedsReadOfAny, s.metrics.ServeHTTP}})
	}
	if s.page != nil { // static, and open to all
		r.Path("/").Handler(s.page)
		r.PathPrefix(page.AssetsPath).Handler(s.page)
	}
	r.Path("/ping").HandlerFunc(s.counted("GET /ping", s.legacyPing)) // open to all, with every method
	// The keys of the original's calls are in their bodies.
	s.handle(r.NewRoute(), "/lock", methods{http.MethodPost: {gate.NeedsChecks, s.legacyLock}})
	s.handle(r.NewRoute(), "/unlock", methods{http.MethodPost: {gate.Releases, s.legacyUnlock}})
	r.NotFoundHandler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.fail(w, r, pb.ErrNoRoute, nil)
	})
	return r
}

// mayBeTokenCheck reports whether a request may be a check of a token. Only GET and HEAD check a
// token; for every other method /token/5 may be the end of a key. For most requests this check
// avoids matching the whole path with a regular expression.
func mayBeTokenCheck(r *http.Request, _ *mux.RouteMatch) bool {
	return (r.Method == http.MethodGet || r.Method == http.MethodHead) && strings.Contains(r.URL.Path, "/token/")
}

// methods maps the HTTP methods of one path to what they need and do. The handler of GET also serves
// HEAD; net/http drops the body.
type methods map[string]endpoint

// endpoint is one method of one path.
type endpoint struct {
	need    gate.Access
	handler http.HandlerFunc
}

// handle registers one route for all methods of a path. mux's own method matching does not set the
// Allow header.
func (s *httpAPI) handle(route *mux.Route, path string, m methods) {
	var allow []string
	for _, name := range []string{
		http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete,
	} {
		if _, ok := m.find(name); ok {
			allow = append(allow, name)
		}
	}
	admitted := make(methods, len(m))
	for name, e := range m {
		admitted[name] = endpoint{e.need, s.counted(name+" "+path, s.gate.HTTP(name+" "+path, e.need, pathKey, s.refuse, e.handler))}
	}
	route.Path(path).HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e, ok := admitted.find(r.Method)
		if !ok {
			w.Header().Set("Allow", strings.Join(allow, ", "))
			s.fail(w, r, pb.ErrMethodNotAllowed, nil)
			return
		}
		e.handler(w, r)
	})
}

func (m methods) find(method string) (endpoint, bool) {
	if method == http.MethodHead {
		method = http.MethodGet
	}
	e, ok := m[method]
	return e, ok
}

// guard wraps all handlers. It fixes the path so that the router sees it as it was sent, and turns
// a panic into an answer, or into a closed connection if the answer has begun.
func (s *httpAPI) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		t := &tracked{ResponseWriter: w}
		defer t.count()
		defer func() {
			p := recover()
			if p == nil {
				return
			}
			if p == http.ErrAbortHandler { //nolint:errorlint // compared as net/http itself does
				panic(p)
			}
			err := panicked(s.log, r.Method+" "+r.URL.Path, p)
			if t.begun {
				panic(http.ErrAbortHandler)
			}
			s.fail(t, r, err, nil)
		}()
		next.ServeHTTP(t, withValidRawPath(r))
	})
}

// tracked is a ResponseWriter that records whether the answer has begun, and what is counted.
type tracked struct {
	http.ResponseWriter
	begun bool
	// counter is the counter of the request's method, nil if it is not counted. began is when the request
	// came, and err the error with which it was answered.
	counter *metrics.Method
	began   time.Time
	err     error
}

func (t *tracked) WriteHeader(status int) {
	t.begun = true
	t.ResponseWriter.WriteHeader(status)
}

// Unwrap returns the wrapped writer. http.ResponseController calls it.
func (t *tracked) Unwrap() http.ResponseWriter { return t.ResponseWriter }

// withValidRawPath percent-encodes bytes of the path that the client should have encoded. The
// router matches URL.EscapedPath, which loses the difference between / and %2F if any byte of the
// path, for example a quote, should have been encoded.
func withValidRawPath(r *http.Request) *http.Request {
	raw := r.URL.RawPath
	if raw == "" || raw == r.URL.EscapedPath() {
		return r
	}
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(raw) {
		c := raw[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9',
			strings.IndexByte("-._~!$&'()*+,;=:@/%[]", c) >= 0:
			b.WriteByte(c)
		default:
			b.Write([]byte{'%', hex[c>>4], hex[c&15]})
		}
	}
	fixed := *r
	fixed.URL = new(url.URL)
	*fixed.URL = *r.URL
	fixed.URL.RawPath = b.String()
	return &fixed
}
