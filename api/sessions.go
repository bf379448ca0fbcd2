package api

import (
	"fmt"
	"sync/atomic"

	"github.com/sgkandale/sharelock"
)

// sessionCount bounds the sessions of a node, over gRPC and plain ones. The zero value has no bound.
type sessionCount struct {
	most int64 // 0 is no bound
	open atomic.Int64
}

// enter counts a session, or returns an error if there are too many.
func (c *sessionCount) enter() error {
	if n := c.open.Add(1); c.most > 0 && n > c.most {
		c.open.Add(-1)
		return &sharelock.Error{
			Err: sharelock.ErrQuota, Message: fmt.Sprintf("the node has %d sessions, the maximum (limits.max_sessions); use another node", c.most),
		}
	}
	return nil
}

func (c *sessionCount) leave() { c.open.Add(-1) }
