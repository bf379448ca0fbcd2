// Package dial opens connections to nodes. Of a host with several addresses the first that answers wins,
// and an address that hangs holds up no other (RFC 8305).
package dial

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"
)

// nextAddress is how long an attempt to reach one address of a host has before another is
// made beside it (RFC 8305).
const nextAddress = 250 * time.Millisecond

// MaxUnsent is how much a connection takes, in bytes, that cannot be sent yet: what is urgent stands
// behind little more.
const MaxUnsent = 64 << 10

// ErrSilent is why a port was given up that took a connection.
var ErrSilent = errors.New("it accepts connections but sends nothing")

// Dialer opens connections to nodes. It is safe for concurrent use.
type Dialer struct {
	// custom opens connections; nil is TCP to the addresses of the host.
	custom func(ctx context.Context, addr string) (net.Conn, error)
	// lookup resolves a host, and direct opens a connection to an address that is resolved.
	lookup func(ctx context.Context, host string) ([]string, error)
	direct func(ctx context.Context, addr string) (net.Conn, error)
	// turn counts connections that are opened without a greeting.
	turn atomic.Uint32
}

// New returns a dialer that opens connections with custom, or with TCP if that is nil.
func New(custom func(ctx context.Context, addr string) (net.Conn, error)) *Dialer {
	d := &Dialer{custom: custom, lookup: net.DefaultResolver.LookupHost}
	d.direct = func(ctx context.Context, addr string) (net.Conn, error) {
		var nd net.Dialer
		return nd.DialContext(ctx, "tcp", addr)
	}
	return d
}

// Greeting is the first exchange on a connection. It returns the connection to be used from then on. If
// it fails the connection is closed.
type Greeting func(ctx context.Context, conn net.Conn) (net.Conn, error)

// Dial opens a connection; greet, if not nil, is the first exchange on it. Of a host with
// several addresses the first that takes both wins: one that hangs, or accepts and says
// nothing, does not hold up the others. The names are resolved at every call.
func (d *Dialer) Dial(ctx context.Context, addr string, greet Greeting) (net.Conn, error) {
	if d.custom != nil {
		return d.try(ctx, addr, d.custom, greet)
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	if net.ParseIP(host) != nil || host == "" {
		return d.try(ctx, addr, d.direct, greet)
	}
	hosts, err := d.lookup(ctx, host)
	if err != nil {
		return nil, err
	}
	if len(hosts) == 0 {
		return nil, fmt.Errorf("host %q has no address", host)
	}
	first := 0
	if greet == nil {
		// An address that accepts and hangs would win every time.
		first = int(d.turn.Add(1)-1) % len(hosts)
	}
	addrs := make([]string, len(hosts))
	for i := range hosts {
		addrs[i] = net.JoinHostPort(hosts[(first+i)%len(hosts)], port)
	}
	return d.race(ctx, addrs, greet)
}

// race makes an attempt at each address, the next when the one before has failed or has had
// its time. The first connection wins, and the attempts beside it end.
func (d *Dialer) race(ctx context.Context, addrs []string, greet Greeting) (net.Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type result struct {
		conn net.Conn
		err  error
	}
	results := make(chan result)
	start := func(addr string) {
		go func() {
			conn, err := d.try(ctx, addr, d.direct, greet)
			select {
			case results <- result{conn, err}:
			case <-ctx.Done():
				if err == nil {
					_ = conn.Close() // another was first
				}
			}
		}()
	}
	var errs []error
	next := time.NewTimer(0)
	defer next.Stop()
	for under := 0; ; {
		select {
		case <-next.C:
			if len(addrs) > 0 {
				start(addrs[0])
				addrs = addrs[1:]
				under++
				next.Reset(nextAddress)
			}
		case r := <-results:
			if r.err == nil {
				return r.conn, nil
			}
			errs = append(errs, r.err)
			if under--; under == 0 && len(addrs) == 0 {
				return nil, errors.Join(errs...)
			}
			next.Reset(0)
		case <-ctx.Done():
			return nil, errors.Join(append(errs, ctx.Err())...)
		}
	}
}

// try makes one attempt. A dialer that does not end with its context is left behind: what it
// opens then is closed.
func (d *Dialer) try(ctx context.Context, addr string, open func(context.Context, string) (net.Conn, error), greet Greeting) (net.Conn, error) {
	type result struct {
		conn net.Conn
		err  error
	}
	opened := make(chan result)
	left := make(chan struct{})
	defer close(left)
	go func() {
		conn, err := open(ctx, addr)
		select {
		case opened <- result{conn, err}:
		case <-left:
			if err == nil {
				_ = conn.Close()
			}
		}
	}()
	var r result
	select {
	case r = <-opened:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if r.err != nil {
		return nil, r.err
	}
	limitUnsent(r.conn)
	if greet == nil {
		return r.conn, nil
	}
	stop := context.AfterFunc(ctx, func() { _ = r.conn.Close() })
	defer stop()
	conn, err := greet(ctx, r.conn)
	if err != nil {
		_ = r.conn.Close()
		if ctx.Err() != nil {
			err = fmt.Errorf("%s: %w", addr, ErrSilent) // and not that the connection was closed for it
		}
		return nil, err
	}
	return conn, nil
}
