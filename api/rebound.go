package api

import (
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/api/remote"
)

// errRebound refuses what a page asks for whose host name resolves to this host.
var errRebound = &sharelock.Error{
	Err:     sharelock.ErrPermissionDenied,
	Message: "a page may change something at this node, which everyone may use, by the name localhost or by its address only: other names may be made to resolve to it",
}

// rebound reports whether a request may come from a page whose own host name was made to resolve to this
// host (DNS rebinding): then the browser takes the node for the origin of the page. It is a request that
// would change something, by a name that is not the loopback's, over a connection that only this host can
// make; who made it is the same origin as what it asks, so that [foreign] lets it pass. A name with TLS is
// verified by the certificate. Tools send no Origin.
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
