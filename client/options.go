package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/clientid"
	"github.com/sgkandale/sharelock/internal/tracecontext"
)

// defaultPatience is Options.Patience when that is 0.
const defaultPatience = 10 * time.Second

// Options are the settings of a [Client]. The zero value is ready to use.
type Options struct {
	// ClientID names the holder to people, 1 to 128 bytes; empty is user@host:pid, cut to
	// what a client id may be. It does not identify a lock: the token does.
	ClientID string
	// Patience is how long a call looks for a node that can serve before it fails
	// with [ErrUnreachable]; 0 is 10 s, and a negative one is an error of [Dial].
	// It begins at the first failure, or with the attempt that failed first if that could not
	// connect.
	// An Acquire looks at least as long as it was told to wait.
	Patience time.Duration
	// Retry says how often a call is repeated within that time, and after which
	// pauses, and bounds the call as a whole.
	Retry Retry
	// OnlyAddrs makes every call go to the addresses that were given to Dial, which
	// lead it to the key's owner. Otherwise the client learns from them which node
	// owns which key, and turns to that node if it can reach it.
	OnlyAddrs bool
	// Logger gets what calls cannot return: renewals that fail and locks that are
	// lost. Nil drops it. It is called in a goroutine of its own: if it blocks, the newest
	// records are dropped, and their number is logged.
	Logger *slog.Logger
	// Dialer opens the connections to nodes; nil is TCP, which tries the addresses of a host
	// name beside each other, 250 ms apart (RFC 8305). An address is one of those given to
	// Dial, or that of a node that the mesh names. A Dialer that does not return when its
	// context ends is not waited for.
	Dialer func(ctx context.Context, addr string) (net.Conn, error)
	// DialOptions come after the client's own and win over them, for interceptors and dialers.
	// Transport credentials among them count for gRPC alone, in place of TLS.
	DialOptions []grpc.DialOption
	// TLS makes all connections TLS, those of gRPC and those of sessions without it. It is not
	// changed: each connection gets a copy, with the name of the server if ServerName is empty,
	// which is the host of the address. Nil is clear text.
	TLS *tls.Config
	// LoadTLS is called before each connection, in place of TLS, for certificates and
	// authorities that are replaced while the client runs. If it fails, the configuration
	// before is used, and the failure is logged. It must return soon.
	LoadTLS func() (*tls.Config, error)
	// Token returns the caller's bearer token, or "" to send none. It is called at each connection, and
	// when a token was refused or has expired: the call that was refused is made again with
	// the new token, once, and no lock is lost by the change. Its errors fail calls only if
	// there is no older token. It is called in a goroutine of its own, once at a time; if it is
	// slow, an older token is used meanwhile. Only a connection with TLS, or within this
	// machine, carries a token: any other fails.
	Token func(ctx context.Context) (string, error)
	// AllowPlaintextTokens lets tokens be sent over networks in clear text.
	AllowPlaintextTokens bool
	// Transport is how sessions reach the nodes, by default as fits DialOptions.
	Transport Transport
	// TracerProvider gets a span for every acquire and release, below the span of the call's
	// context if that has one. The spans do not have the keys of locks. Nodes that trace continue
	// the trace, if it is sampled. Nil is no spans: the provider that is set for the whole program
	// is not used by itself, but otel.GetTracerProvider() returns it.
	TracerProvider trace.TracerProvider
}

// check finds everything that is wrong.
func (o Options) check() error {
	err := o.Retry.check()
	if o.Patience < 0 {
		err = errors.Join(err, sharelock.Invalid("Patience", "is negative"))
	}
	if o.ClientID != "" {
		err = errors.Join(err, sharelock.CheckClientID(o.ClientID))
	}
	if o.TLS != nil && o.LoadTLS != nil {
		err = errors.Join(err, sharelock.Invalid("LoadTLS", "cannot be combined with TLS"))
	}
	if o.Transport > TransportPlain {
		err = errors.Join(err, sharelock.Invalid("Transport", fmt.Sprintf("%d is unknown", o.Transport)))
	}
	return err
}

func (o Options) withDefaults() Options {
	if o.ClientID == "" {
		o.ClientID = clientid.Default()
	}
	if o.Patience == 0 {
		o.Patience = defaultPatience
	}
	o.Retry = o.Retry.withDefaults()
	return o
}

// Transport is how sessions reach a node. 0 is TransportPlain, but TransportGRPC if there are
// DialOptions: they may be what the way to the nodes demands.
type Transport uint8

// The transports.
const (
	// TransportGRPC is the bidirectional stream of LockService.Session.
	TransportGRPC Transport = iota + 1
	// TransportPlain is the same messages on a stream of their own, at the same port, which costs
	// less. A node that does not speak so is reached by gRPC, if it, or what stands before
	// it, refuses a stream that is no HTTP/2; where such a stream is swallowed no node is
	// reached. DialOptions do not count for it: it is in clear text, and opened by Dialer.
	TransportPlain
)

// Option is a setting of one acquire. A nil Option changes nothing.
type Option func(*request)

// request is an acquire as the caller wants it.
type request struct {
	sharelock.AcquireRequest
	noRenew bool
	// metadata: some was given, which may be none.
	metadata bool
	onQueued func(position int)
	// trace is the span of the acquire; nil if it is not traced.
	trace *tracecontext.Parent
}

// TTL is the life of the lock without renewals, 100 ms to the mesh's max_ttl.
// The default is the node's default_ttl.
func TTL(d time.Duration) Option { return func(r *request) { r.TTL = d } }

// Wait is how long to queue for the key; 0 tries once. The default, and any
// negative value, is the node's default_wait. The context of the call may end
// the wait earlier.
func Wait(d time.Duration) Option { return func(r *request) { r.AcquireRequest.Wait = d } }

// Shared lets others that ask for a shared lock hold the key too.
func Shared() Option { return func(r *request) { r.Mode = sharelock.Shared } }

// Slots makes the key a semaphore of n holders. All callers of a key must agree;
// 0 and 1 are a mutex.
func Slots(n uint32) Option { return func(r *request) { r.Slots = n } }

// Metadata goes with the lock, for Get, List and the people who look at them: up
// to 16 pairs, 2 KiB together. The map must not be changed during the call. It is also an
// option of [Lock.Renew], which changes the metadata.
func Metadata(m map[string]string) Option {
	return func(r *request) { r.Metadata, r.metadata = m, true }
}

// MaxHold is the longest that the lock may be held, however often it is renewed: 100 ms to
// 100 days; 0 is no limit. When it is over the lock ends with [ErrMaxHold], and a tenth later
// its owner gives the key to the next in line. The mesh's own limit, locks.max_hold, holds if
// it is shorter: [Lock.Hold] has the one that counts.
func MaxHold(d time.Duration) Option { return func(r *request) { r.AcquireRequest.MaxHold = d } }

// OnQueued has fn told where the acquire stands in line: when it begins to wait, and again when
// that has changed, at most every two seconds. Position 1 is next. An acquire that need not wait
// tells nothing, and behind more than 500 others only the first position is told.
//
// fn is called in a goroutine of its own, one call at a time. If it is slow it misses positions,
// but not the newest; it holds up neither the acquire nor any lock, so a call may still be under
// way when Acquire returns. Through a node without sessions nothing is told.
func OnQueued(fn func(position int)) Option { return func(r *request) { r.onQueued = fn } }

// ClientID names the holder of this lock in place of [Options].ClientID.
func ClientID(id string) Option { return func(r *request) { r.AcquireRequest.ClientID = id } }

// RequestID makes this acquire the same one as an earlier acquire with the same
// id, perhaps of a process that has crashed: what that one was granted, this one
// gets, as long as it lasts. By default every acquire has an id of its own.
func RequestID(id string) Option { return func(r *request) { r.AcquireRequest.RequestID = id } }

// NoRenew leaves the lock to its TTL: the client does not renew it.
func NoRenew() Option { return func(r *request) { r.noRenew = true } }
