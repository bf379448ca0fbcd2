package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/client/internal/dial"
	"github.com/sgkandale/sharelock/client/internal/secure"
	"github.com/sgkandale/sharelock/client/internal/session"
	"github.com/sgkandale/sharelock/internal/clienthook"
	"github.com/sgkandale/sharelock/internal/clock"
	"github.com/sgkandale/sharelock/internal/sessionwire"
	"github.com/sgkandale/sharelock/internal/trace"
	sharelockv1 "github.com/sgkandale/sharelock/proto/sharelock/v1"
)

// longestConnect bounds how long a node may take to take a stream, and shortestConnect is the
// least that it has for that, however short the patience is and however many the addresses.
const (
	longestConnect  = 2 * time.Second
	shortestConnect = 100 * time.Millisecond
)

// Client takes locks and keeps them. It holds one connection per address and is
// safe for concurrent use. Make one with [Dial] and share it.
type Client struct {
	opts  Options
	hooks clienthook.Hooks
	// nodes are those whose addresses were given to Dial. all are they, and behind them the
	// others that the mesh has named, unless OnlyAddrs is set.
	nodes []*node
	all   atomic.Pointer[[]*node]
	// current is the index in all of the node that calls go to, until it fails.
	current atomic.Uint32
	dialer  *dial.Dialer
	// tracer makes the spans of calls; nil makes none.
	tracer *trace.Tracer
	// tls secures connections. credential is what calls carry; nil is nothing.
	tls        *secure.Transport
	credential *secure.Credential
	// connectTime bounds an attempt to connect to a node, so that each has its turn within the
	// patience.
	connectTime time.Duration
	keeper      *keeper
	owners      owners
	ids         ids
	// clock is read for every deadline: the time since an arbitrary start. It does not jump and,
	// where the system can, counts the time that the machine was suspended.
	clock func() time.Duration
	// recent is a cheaper clock, whose time may lie behind: see recentClock.
	recent func() time.Duration

	// log is Options.Logger behind a queue, so that it never holds up the client.
	log *logQueue
	// pulse notices when this process did not run.
	pulse pulse

	// life ends when Close begins, cleanup when Close waits no longer for what is given back.
	life, cleanup context.Context
	end           context.CancelCauseFunc
	endCleanup    context.CancelFunc
	// gaveBack counts what was given back to the mesh after its caller had gone.
	gaveBack atomic.Uint64
	// work counts every goroutine of the client.
	work sync.WaitGroup
	// mu guards closed, so that no work begins once Close waits for it.
	mu     sync.Mutex
	closed bool
}

// node is one address.
type node struct {
	addr  string
	conn  *grpc.ClientConn
	locks sharelockv1.LockServiceClient
	mesh  sharelockv1.MeshServiceClient
	// session carries acquires, renewals and releases.
	session *session.Session
	// handshake is the failure of the last handshake of gRPC, or nil.
	handshake atomic.Pointer[secure.Error]
	// shunned is until when calls for the keys that it owns go elsewhere.
	shunned atomic.Int64
}

func (n *node) close() error {
	n.session.Close()
	return n.conn.Close()
}

// Dial makes a client for the mesh whose nodes have these gRPC addresses
// (host:port); one is enough, more survive the loss of a node. It returns when
// the first of them answers, whether it can serve yet or not, and fails with
// [ErrUnreachable] when none does within the options' Patience, and with [sharelock.ErrWrongPort] at
// once if there is something else at each address. ctx bounds Dial alone. Options that cannot be are sharelock.ErrInvalidArgument.
func Dial(ctx context.Context, addrs []string, opts Options) (*Client, error) {
	if len(addrs) == 0 {
		return nil, fmt.Errorf("dial: %w", sharelock.Invalid("addrs", "is empty: at least one address is needed"))
	}
	if err := opts.check(); err != nil {
		return nil, fmt.Errorf("dial: %w", err)
	}
	c := &Client{opts: opts.withDefaults(), hooks: clienthook.From(ctx), ids: newIDs()}
	if c.clock = c.hooks.Clock; c.clock == nil {
		c.clock = clock.System()
		c.recent = recentClock(c.clock)
	} else {
		c.recent = c.clock
	}
	c.dialer, c.tracer = dial.New(opts.Dialer), trace.New(opts.TracerProvider, false)
	c.connectTime = max(min(longestConnect, c.opts.Patience/time.Duration(len(addrs))), shortestConnect)
	c.owners.c = c
	c.life, c.end = context.WithCancelCause(context.Background())
	c.cleanup, c.endCleanup = context.WithCancel(context.Background())
	c.log = newLogQueue(opts.Logger)
	c.secureBy(opts)
	c.keeper = newKeeper(c)
	for _, addr := range addrs {
		n, err := c.newNode(addr)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("dial %q: %w", addr, err), c.disconnect())
		}
		c.nodes = append(c.nodes, n)
	}
	c.all.Store(&c.nodes)
	c.work.Go(c.keeper.run)
	if err := c.reach(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("dial: %w", err), c.Close())
	}
	if c.hooks.Mesh != nil {
		c.hooks.Mesh(c.nodes[0].mesh)
	}
	if c.hooks.Control != nil {
		c.hooks.Control(control{c.keeper})
	}
	return c, nil
}

func (c *Client) newNode(addr string) (*node, error) {
	if _, _, err := net.SplitHostPort(addr); err != nil {
		return nil, err
	}
	n := &node{addr: addr}
	opts := append([]grpc.DialOption{
		// The dialer resolves names at every connection, and no proxy that was meant
		// for the web stands between a lock and its deadline.
		grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) { return c.dialer.Dial(ctx, addr, nil) }),
		// Retries are ours: they number their sends (Q3).
		grpc.WithDisableRetry(),
		grpc.WithDisableServiceConfig(),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second},
			MinConnectTimeout: c.connectTime,
		}),
		grpc.WithStaticStreamWindowSize(streamWindow),
		grpc.WithStaticConnWindowSize(connWindow),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{
			Time: keepaliveTime, Timeout: keepaliveTimeout, PermitWithoutStream: true,
		}),
	}, append(c.credentials(n), c.opts.DialOptions...)...)
	conn, err := grpc.NewClient("passthrough:///"+addr, opts...)
	if err != nil {
		return nil, err
	}
	n.conn, n.locks, n.mesh = conn, sharelockv1.NewLockServiceClient(conn), sharelockv1.NewMeshServiceClient(conn)
	n.session = c.newSession(n)
	return n, nil
}

func (c *Client) newSession(n *node) *session.Session {
	t, opaque := c.opts.Transport, len(c.opts.DialOptions) > 0 // they may be what the way to the node demands
	return session.New(session.Config{
		Addr: n.addr, Conn: n.conn, GRPC: t == TransportGRPC || t == 0 && opaque, Opaque: opaque,
		Dialer: c.dialer, TLS: c.tls, ConnectTime: c.connectTime, Handshake: n.handshake.Load, Credential: c.credential,
		Now: c.now, Beat: c.pulse.beat,
		Unary: func(ctx context.Context, bound bool, call *sessionwire.Call) (sharelock.Hold, error) {
			return c.unary(ctx, n, bound, call)
		},
		Keeper: nodeKeeper{c.keeper, n}, Wrap: c.hooks.Sessions, Debug: c.log.debug,
	})
}

// reach returns when some node answers, whatever it says. Something in front of the nodes may take
// connections and hang: so each attempt has the time for a connection, and a quarter for the answer.
func (c *Client) reach(ctx context.Context) error {
	b := bounds{attempts: len(c.nodes), attempt: func() time.Duration { return c.connectTime * 5 / 4 }}
	return c.do(ctx, b, func(ctx context.Context, n *node) error {
		if !n.session.GRPCOnly() {
			if err := n.session.Reach(ctx); !n.session.GRPCOnly() {
				return err
			}
		}
		_, err := healthv1.NewHealthClient(n.conn).Check(ctx, &healthv1.HealthCheckRequest{Service: sharelockv1.LockService_ServiceDesc.ServiceName})
		switch code := status.Code(err); {
		case code == codes.DeadlineExceeded:
			return n.mute()
		case code == codes.Unavailable, code == codes.Unauthenticated, ctx.Err() != nil, errors.Is(sharelockv1.FromError(err), sharelock.ErrWrongPort):
			return err
		case code == codes.Unimplemented, code == codes.NotFound:
			return n.notOurs(ctx)
		}
		return nil
	})
}

// notOurs fails with [sharelock.ErrWrongPort] if the node knows nothing of the lock service: it is
// another server of gRPC.
func (n *node) notOurs(ctx context.Context) error {
	_, err := n.locks.Get(ctx, &sharelockv1.GetRequest{}) // a node refuses it
	switch status.Code(err) {
	case codes.Unavailable:
		return err
	case codes.Unimplemented:
		return sharelockv1.ToStatus(&sharelock.Error{
			Err: sharelock.ErrWrongPort, Message: n.addr + " is a server of gRPC that knows no locks",
		}).Err()
	}
	return nil
}

// Close ends the client and waits for everything it has begun. Acquires that are under
// way fail with [ErrClosed] and are given up, and releases that are under way are
// finished: Close waits for that as long as the mesh goes on answering, until nothing was
// answered for 10 s, or for 3 s if no node can be reached, and for 30 s at most.
//
// Locks that are still held are no longer renewed, and their Done closes, but they are not
// released: the code that works under them may not have stopped yet, so they end with their
// TTL. Call [Client.ReleaseAll] before to release them. Further calls fail with
// [ErrClosed]; closing twice is harmless.
func (c *Client) Close() error {
	c.mu.Lock()
	first := !c.closed
	c.closed = true
	c.mu.Unlock()
	c.end(ErrClosed)
	c.abort(false)
	if !first {
		c.work.Wait()
		return nil
	}
	c.drain()
	c.log.close()
	return c.disconnect()
}

// drain waits for the work of the client, as long as something is given back.
func (c *Client) drain() {
	done := make(chan struct{})
	go func() {
		c.work.Wait()
		close(done)
	}()
	tick := time.NewTicker(lookClose)
	defer tick.Stop()
	var waited, still time.Duration
	for before := c.gaveBack.Load(); ; {
		select {
		case <-done:
			c.endCleanup()
			return
		case <-tick.C:
		}
		waited, still = waited+lookClose, still+lookClose
		if now := c.gaveBack.Load(); now != before {
			before, still = now, 0
		}
		most := quietClose
		if c.isThere() {
			most = changeClose
		}
		if still >= most || waited >= longestClose {
			c.endCleanup()
			c.abort(true)
			<-done
			return
		}
	}
}

// isThere reports whether some node of the mesh is there, whether it can serve or not.
func (c *Client) isThere() bool {
	for _, n := range slices.Concat(*c.all.Load(), c.owners.all()) {
		if n.session.IsThere() {
			return true
		}
	}
	return false
}

// abort ends the calls under way that end with the client, or all.
func (c *Client) abort(all bool) {
	for _, n := range c.nodes {
		n.session.Abort(all)
	}
	for _, n := range c.owners.all() {
		n.session.Abort(all)
	}
}

func (c *Client) disconnect() error {
	var errs []error
	for _, n := range c.nodes {
		errs = append(errs, n.close())
	}
	errs = append(errs, c.owners.close())
	return errors.Join(errs...)
}

// goWork runs f in a goroutine that Close waits for, and reports false without
// running it once Close has begun.
func (c *Client) goWork(f func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.work.Go(f)
	return true
}

func (c *Client) now() time.Duration { return c.clock() }
