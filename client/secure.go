package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/client/internal/secure"
)

// secureBy takes over the options about TLS and tokens.
func (c *Client) secureBy(opts Options) {
	c.tls = secure.NewTransport(opts.TLS, opts.LoadTLS, func(err error) {
		c.log.warn("the older configuration of TLS is used", "err", err)
	})
	if opts.Token != nil {
		c.credential = secure.NewCredential(c.life, opts.Token, opts.AllowPlaintextTokens, func(err error) {
			c.log.warn("the older token is used", "err", err)
		})
	}
}

// credentials are the options of gRPC for TLS and tokens.
func (c *Client) credentials(n *node) []grpc.DialOption {
	if !c.tls.On() && c.credential == nil {
		return []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())}
	}
	opts := []grpc.DialOption{grpc.WithTransportCredentials(c.tls.GRPC(n.addr, c.credential, func(err error) {
		refused, _ := errors.AsType[*secure.Error](err)
		n.handshake.Store(refused)
	}))}
	if c.credential != nil {
		opts = append(opts, grpc.WithPerRPCCredentials(c.credential.PerRPC()))
	}
	return opts
}

// replaceInterval is how long a call accepts no further replacement of its token after one.
const replaceInterval = 10 * time.Second

// replaceToken reports whether an attempt was refused for its credential and there is another one
// now. token is the newest when the attempt was made. It waits no longer than the next attempt of the
// call may take: another node may accept the same token.
func (c *Client) replaceToken(ctx context.Context, b bounds, err error, token *secure.Token) bool {
	if c.credential == nil || status.Code(err) != codes.Unauthenticated {
		return false
	}
	if _, none := errors.AsType[*secure.TokenError](err); none {
		return false
	}
	if b.attempt != nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, b.attempt())
		defer cancel()
	}
	return c.credential.Replace(ctx, token)
}

// useless reports whether an error says that an address is of no use whatever is tried again.
func useless(err error) bool { return errors.Is(err, sharelock.ErrWrongPort) || secure.IsUseless(err) }

// unusable is the error of a call for which every address is useless.
func unusable(err error) error {
	if _, ok := errors.AsType[*secure.Error](err); ok {
		return fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	return err
}
