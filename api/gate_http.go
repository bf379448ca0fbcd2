package api

import (
	"net/http"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/api/remote"
	"github.com/sgkandale/sharelock/internal/auth"
)

// admit returns a handler whose calls pass the gate first. name is for the audit log.
func (s *httpAPI) admit(name string, need access, h http.HandlerFunc) http.HandlerFunc {
	g := s.gate
	switch {
	case g == nil:
		return s.witness.http(name, need, h)
	case need.scope == openToAll:
		return h
	}
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, from := r.Context(), entrance{door: doorHTTP, method: name, remote: remote.Addr(r.Context())}
		c, err := httpCredentials(r)
		v := &visit{gate: g, audit: g.audit, from: from}
		if err != nil {
			v.refused(ctx, err)
		} else {
			ctx, v, err = g.enter(ctx, c, from)
		}
		if err == nil {
			var key string
			if need.scope == onKey {
				key, err = pathKey(r)
			}
			if err == nil {
				ctx, err = v.permit(ctx, need, key)
			}
		}
		if err != nil {
			s.fail(w, r, err, nil)
			return
		}
		h(w, r.WithContext(ctx))
	}
}

// httpCredentials returns the credentials of a request.
func httpCredentials(r *http.Request) (auth.Credentials, error) {
	c := auth.Credentials{Plain: r.TLS == nil, From: remote.IP(remote.Addr(r.Context()))}
	if r.TLS != nil {
		c.Certificate = verifiedCertificate(r.TLS)
	}
	var err error
	if c.Bearer, err = bearerOf(r.Header.Values("Authorization")); c.Bearer == "" && err == nil {
		c.Bearer = cookieToken(r)
	}
	return c, err
}

// foreign refuses requests that change something and were made by a page of another origin in a
// browser, on an open node, too: whatever its user visits could otherwise take and free the locks
// of a node that only the browser's host can reach.
var foreign = http.NewCrossOriginProtection()

// errForeign refuses such a request.
var errForeign = &sharelock.Error{
	Err: sharelock.ErrPermissionDenied, Message: "a page of another origin may not make this call (Origin, Sec-Fetch-Site)",
}

// fromHere returns a handler that refuses what pages of other origins ask for.
func (s *httpAPI) fromHere(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// The original's ping answers every method, and changes nothing.
		var err error
		switch {
		case r.URL.Path == "/ping":
		case foreign.Check(r) != nil:
			err = errForeign
		case s.gate == nil && rebound(r):
			err = errRebound
		}
		if err == nil {
			next.ServeHTTP(w, r)
			return
		}
		v := &visit{audit: s.audit, from: entrance{door: doorHTTP, method: r.Method + " " + r.URL.Path, remote: remote.Addr(r.Context())}}
		v.refused(r.Context(), err)
		s.fail(w, r, err, nil)
	})
}
