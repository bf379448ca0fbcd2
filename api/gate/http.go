package gate

import (
	"net/http"

	"github.com/sgkandale/sharelock/api/remote"
)

// Errors answers an HTTP request with an error.
type Errors func(w http.ResponseWriter, r *http.Request, err error)

// HTTP returns a handler whose calls pass the gate first. name is the method for the audit log. key
// returns the key of a request whose call needs a verb on it. fail answers refused calls.
func (g *Gate) HTTP(name string, need Access, key func(*http.Request) (string, error), fail Errors, h http.HandlerFunc) http.HandlerFunc {
	switch {
	case need.scope == openToAll:
		return h
	case !g.Authenticates():
		return g.tellHTTP(name, need, key, h)
	}
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, from := r.Context(), entrance{door: DoorHTTP, method: name, remote: remote.Addr(r.Context())}
		c, err := httpCredentials(r)
		v := &visit{gate: g, audit: g.audit, from: from}
		if err != nil {
			v.refused(ctx, err)
		} else {
			ctx, v, err = g.enter(ctx, c, from)
		}
		if err == nil {
			var of string
			if need.scope == onKey {
				of, err = key(r)
			}
			if err == nil {
				ctx, err = v.permit(ctx, need, of)
			}
		}
		if err != nil {
			fail(w, r, err)
			return
		}
		h(w, r.WithContext(ctx))
	}
}

// SignIn authenticates a request by a token that is no part of its credentials, and returns the
// principal of the token. The gate must authenticate callers.
func (g *Gate) SignIn(r *http.Request, token string) (principal string, err error) {
	c, err := httpCredentials(r)
	if err != nil {
		return "", err
	}
	c.Bearer = token
	_, v, err := g.enter(r.Context(), c, entrance{door: DoorHTTP, method: "sign-in", remote: remote.Addr(r.Context())})
	if err != nil {
		return "", err
	}
	return v.who.Principal(), nil
}

// tokenCookie is the cookie in which the web page keeps its token. Scripts cannot read it, and a
// browser sends it only with requests that a page of this node makes.
const tokenCookie = "sharelock_token"

// Cookie returns the cookie with a token, for the page that has made a request.
func Cookie(r *http.Request, token string) *http.Cookie {
	return &http.Cookie{ //nolint:gosec // secure with TLS; without it the browser would not send it back
		Name: tokenCookie, Value: token, Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: r.TLS != nil,
	}
}

// cookieToken returns the token in the cookie of a request, or "".
func cookieToken(r *http.Request) string {
	c, err := r.Cookie(tokenCookie)
	if err != nil {
		return ""
	}
	return c.Value
}
