package gate

import (
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/api/remote"
)

// foreign refuses requests that change something and were made by a page of another origin in a
// browser, also on an open node. Otherwise any web site that the user visits could take and release the
// locks of a node that only the browser's host can reach.
var foreign = http.NewCrossOriginProtection()

// errForeign refuses such a request.
var errForeign = &sharelock.Error{
	Err: sharelock.ErrPermissionDenied, Message: "a page of another origin may not make this call (Origin, Sec-Fetch-Site)",
}

// FromHere returns a handler that refuses requests of pages of other origins. fail answers them.
func (g *Gate) FromHere(next http.Handler, fail Errors) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// The original's ping answers every method, and changes nothing.
		var err error
		switch {
		case r.URL.Path == "/ping":
		case foreign.Check(r) != nil:
			err = errForeign
		case !g.Authenticates() && rebound(r):
			err = errRebound
		}
		if err == nil {
			next.ServeHTTP(w, r)
			return
		}
		v := &visit{from: entrance{door: DoorHTTP, method: r.Method + " " + r.URL.Path, remote: remote.Addr(r.Context())}}
		if g != nil {
			v.audit = g.audit
		}
		v.refused(r.Context(), err)
		fail(w, r, err)
	})
}

// errRebound refuses requests of a page whose host name resolves to this host.
var errRebound = &sharelock.Error{
	Err:     sharelock.ErrPermissionDenied,
	Message: "a page may change something at this node, which everyone may use, by the name localhost or by its address only: other names may be made to resolve to it",
}

// rebound reports whether a request may come from a page whose own host name was made to resolve to this
// host (DNS rebinding). The browser then takes the node for the origin of the page, so that [foreign] allows
// the request. Such a request changes something, uses a host name that is not a loopback name, and arrives
// over a connection that only this host can make. With TLS the certificate verifies the name. Tools send no
// Origin.
func rebound(r *http.Request) bool {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		return false
	}
	if r.TLS != nil || !strings.HasPrefix(r.Header.Get("Origin"), "http://") {
		return false
	}
	local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if !ok || !remote.IP(local).Unmap().IsLoopback() {
		return false
	}
	host := r.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return false
	}
	_, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err != nil
}
