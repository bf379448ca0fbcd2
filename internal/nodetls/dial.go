package nodetls

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync/atomic"

	"github.com/sgkandale/sharelock/internal/seldom"
)

// Dial opens a stream to an address.
type Dial func(ctx context.Context, addr string) (net.Conn, error)

// Dialer opens streams to other members.
type Dialer struct {
	store *Store
	dial  Dial
	// speaks reports whether the process at an address takes TLS; nil means that all do.
	speaks  func(addr string) bool
	refused seldom.Log
}

// Dialer returns a dialer. speaks may be nil; a process of which speaks does not report that it takes
// TLS is dialed without TLS.
func (s *Store) Dialer(dial Dial, speaks func(addr string) bool) *Dialer {
	return &Dialer{store: s, dial: dial, speaks: speaks}
}

// Dial opens a stream to the member at an address. ctx bounds the handshake, too.
func (d *Dialer) Dial(ctx context.Context, addr string) (net.Conn, error) {
	conn, err := d.dial(ctx, addr)
	if err != nil || d.speaks != nil && !d.speaks(addr) {
		return conn, err
	}
	below := &socket{Conn: conn, conns: &d.store.conns}
	c := tls.Client(below, d.store.Current().memberClient)
	if err := c.HandshakeContext(ctx); err != nil {
		_ = below.Close()
		if _, plain := errors.AsType[tls.RecordHeaderError](err); plain {
			err = fmt.Errorf("the process there does not take TLS from members (tls.members): %w", err)
		}
		if ctx.Err() == nil {
			d.report(addr, err)
		}
		return nil, fmt.Errorf("TLS with %s: %w", addr, err)
	}
	d.store.conns.add(below, c.ConnectionState().PeerCertificates, d.store.Current, d.store.cfg.Log)
	return &dialed{Conn: Conn{Conn: c, below: below}, dialer: d, addr: addr}, nil
}

func (d *Dialer) report(addr string, err error) {
	if d.refused.Allow(addr) {
		d.store.cfg.Log.Warn("no TLS stream to a member", "address", addr, "error", err)
	}
}

// dialed is a stream that was dialed. The other end verifies the certificate of this node only
// after the handshake has ended here, so that a refusal is the first thing that is read.
type dialed struct {
	Conn
	dialer *Dialer
	addr   string
	// heard is set when something was read.
	heard atomic.Bool
}

// Read implements net.Conn.
func (c *dialed) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if !c.heard.Load() {
		if n > 0 {
			c.heard.Store(true)
		} else if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "remote error" {
			leaf := c.dialer.store.Current().cert.Leaf
			err = fmt.Errorf("the member at %s refuses the certificate of this node, %s: %w", c.addr, describe(leaf), err)
			c.dialer.report(c.addr, err)
		}
	}
	return n, err
}
