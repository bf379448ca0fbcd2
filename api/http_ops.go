package api

import (
	"net/http"
	"net/http/pprof"
)

// NewOps returns the server of a port for probes and Prometheus, which use neither TLS nor
// credentials. It serves only /healthz, /readyz and /metrics.
func NewOps(node Node, o Options) *http.Server {
	s := newHTTPAPI(node, o)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", s.healthz)
	mux.HandleFunc("GET /readyz", s.readyz)
	if s.metrics != nil {
		mux.Handle("GET /metrics", s.metrics)
	}
	return bounded(s.guard(mux))
}

// NewDebug returns the server of a port for debugging. It serves only pprof.
func NewDebug() *http.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return bounded(mux)
}

// bounded returns a server that slow clients cannot keep busy.
func bounded(h http.Handler) *http.Server {
	return &http.Server{
		Handler: h, ReadHeaderTimeout: readHeaderTimeout, ReadTimeout: readTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes,
	}
}
