package api

import (
	"log/slog"
	"net/http"
	"time"

	"github.com/sgkandale/sharelock/api/gate"
	"github.com/sgkandale/sharelock/internal/audit"
	"github.com/sgkandale/sharelock/internal/auth"
	"github.com/sgkandale/sharelock/internal/metrics"
	"github.com/sgkandale/sharelock/internal/quota"
)

// Options are the settings of both servers. The zero value is valid.
type Options struct {
	// Logger logs panics and internal errors; nil discards them.
	Logger *slog.Logger
	// Reflection enables gRPC server reflection.
	Reflection bool
	// MaxWait is the node's max_wait. The original API's timeoutMs is reduced to it, because its
	// clients do not know of a limit; 0 does not reduce it.
	MaxWait time.Duration
	// TLS says that the listeners return connections whose TLS handshake is done, or that have no TLS.
	TLS bool
	// Dashboard serves the web page at /.
	Dashboard bool
	// Quotas limits what a principal may ask of the node. It is shared by the servers; nil limits
	// nothing. It needs Auth.
	Quotas *quota.Quotas
	// Level is the level of the node's log; with nil it cannot be changed.
	Level *slog.LevelVar
	// Debug returns the files of a debugging archive; with nil there is no archive.
	Debug func() []DebugFile
	// MaxSessions bounds the sessions that are open at the same time; 0 is no bound.
	MaxSessions int
	// WrongPort is the error for gRPC clients at the HTTP port, a *[sharelock.Error]. If it is
	// nil, net/http answers them.
	WrongPort error
	// Auth authenticates callers and says what they may do. If it is nil, everyone may do
	// everything.
	Auth *auth.Authority
	// Audit records what was denied, and more; nil records nothing. Without Auth it names callers by
	// their addresses.
	Audit *audit.Log
	// Metrics answers GET /metrics; with nil there is no such path.
	Metrics http.Handler
	// Calls, if not nil, counts the calls over HTTP and unary gRPC. Those of sessions are counted
	// where they are answered.
	Calls *metrics.Calls
	// Traces says that the node traces requests: it takes the header traceparent of a call into account.
	Traces bool
}

// gate returns the gate of a server; nil if it has none.
func (o Options) gate() *gate.Gate {
	return gate.New(gate.Config{Auth: o.Auth, Audit: o.Audit, Quotas: o.Quotas})
}

func (o Options) logger() *slog.Logger {
	if o.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return o.Logger
}
