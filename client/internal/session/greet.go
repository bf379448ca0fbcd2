package session

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/sgkandale/sharelock/client/internal/secure"
	"github.com/sgkandale/sharelock/internal/sessionwire"
)

// greet begins a session on a connection to the node.
func (s *Session) greet(ctx context.Context, conn net.Conn) (net.Conn, error) {
	conn, err := s.TLS.Client(ctx, conn, s.Addr, secure.ProtoSession)
	if errors.Is(err, secure.ErrProtocol) {
		return nil, fmt.Errorf("%w: %w", sessionwire.ErrNoSession, err)
	}
	if err != nil {
		return nil, err
	}
	if s.Credential != nil {
		if err := s.Credential.Allow(conn); err != nil {
			return nil, err
		}
	}
	if err := hello(conn); err != nil {
		if refused := secure.Refused(s.Addr, err); refused != nil {
			err = refused
		}
		return nil, err
	}
	return conn, nil
}
