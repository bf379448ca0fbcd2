package client

import (
	"context"
	"fmt"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/client/internal/session"
	"github.com/sgkandale/sharelock/internal/clienthook"
)

// control is what tests of programs may do to the locks of a client, and calls for the programs.
type control struct{ keeper *keeper }

var _ clienthook.Control = control{}

// Expire implements clienthook.Control.
func (c control) Expire(key string, token sharelock.Token) {
	if l := c.find(key, token); l != nil {
		c.keeper.end(l, fmt.Errorf("%w: %w", ErrLost, errLate))
	}
}

// Freeze implements clienthook.Control.
func (c control) Freeze(key string, token sharelock.Token) bool {
	l := c.find(key, token)
	if l != nil {
		c.keeper.freeze(l)
	}
	return l != nil
}

// Invoke implements clienthook.Control.
func (c control) Invoke(ctx context.Context, method string, req, resp any) error {
	return c.keeper.c.do(ctx, bounds{answer: answerLate}, func(ctx context.Context, n *node) error { return n.conn.Invoke(ctx, method, req, resp) })
}

func (c control) find(key string, token sharelock.Token) *Lock {
	c.keeper.mu.Lock()
	defer c.keeper.mu.Unlock()
	return c.keeper.lookup(key, token)
}

// freeze makes a lock one that nothing renews any more: neither the keeper, nor the node that keeps
// it for a session, nor the program.
func (k *keeper) freeze(l *Lock) {
	k.mu.Lock()
	at, stop := l.at, l.stopRenewal
	l.noRenew, l.frozen = true, true
	l.at = session.Attachment{}
	l.reckon()
	k.requeue(l)
	k.mu.Unlock()
	if stop != nil {
		stop()
	}
	at.Detach()
}

// outlive is a renewal of a frozen lock: it goes unanswered.
func (l *Lock) outlive(ctx context.Context) error {
	select {
	case <-l.Done():
		return l.Err()
	case <-ctx.Done():
		return ended(ctx)
	}
}
